"""`strait wait`, also known as `strait runs wait`."""

from __future__ import annotations

from typing import Final

from strait_cli.commands import runs
from strait_cli.verbs import leaf, verb

app = leaf()
verb(app, "wait", examples=("strait wait @last", "strait wait run_01hzy run_01hzz --timeout 120"))(runs.wait)

APPS: Final = {"wait": app}
