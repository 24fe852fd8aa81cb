"""What a handler is called with besides the request: the parts, and what lives as long as the app."""

from __future__ import annotations

from dataclasses import dataclass

from strait_daemon.api.cache import JobCache
from strait_daemon.api.deps import Deps
from strait_daemon.api.watchers import Watchers


@dataclass(frozen=True, slots=True)
class Api:
    """The parts, the jobs at hand and the open streams."""

    deps: Deps
    jobs: JobCache
    watchers: Watchers
