"""A job as YAML in the user's editor, and back as the fields that were changed."""

from __future__ import annotations

from typing import Any, Final

import yaml

from strait_cli import body
from strait_cli.ask import edited
from strait_core.errors import UsageError

_EDITABLE: Final = ("name", "slug", "endpoint_url", *(name for name in body.JOB_FIELDS if name not in body.SECRETS))
_HEAD: Final = "# Job {slug} in project {project_id}. Change what you like; a line taken out is left as it is.\n"


def changes_by_hand(job: dict[str, Any]) -> dict[str, Any]:
    """The fields that the user changed in the editor, with their new values; empty when none."""
    before = {name: job[name] for name in _EDITABLE if name in job}
    text = _HEAD.format(**job) + yaml.safe_dump(before, sort_keys=False, allow_unicode=True)
    try:
        after = yaml.safe_load(edited(text, suffix=".yaml"))
    except yaml.YAMLError as error:
        raise UsageError(f"that is not YAML: {error}", hint="nothing was changed; try again") from error
    if not isinstance(after, dict):
        return {}
    for name in after:
        if name not in before:
            raise UsageError(f'"{name}" is no field that can be changed', hint="nothing was changed; try again")
    return {name: value for name, value in after.items() if value != before[name]}
