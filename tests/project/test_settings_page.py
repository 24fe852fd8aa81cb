"""docs/settings.md names every setting with its real default, and the examples set none that does not exist."""

from __future__ import annotations

import re
from enum import StrEnum

import yaml

from strait_daemon.settings import Settings
from tests.project.tree import ROOT

# Defaults that depend on something else, as the page words them.
WORDED = {
    "DATABASE_DIRECT_URL": "DATABASE_URL",
    "LOG_FORMAT": "by terminal",
    "ENCRYPTION_KEY": "from `JWT_SIGNING_KEY",
    **dict.fromkeys(("REDIS_URL", "CHANGES_REDIS_STREAM", "CHANGES_WEBHOOK_URL", "CHANGES_WEBHOOK_SECRET"), "none"),
}


def worded(value: object) -> str:
    """A default as a person would write it in the environment."""
    match value:
        case bool():
            return str(value).lower()
        case StrEnum():
            return value.value
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def expected() -> dict[str, str]:
    """Every setting and its default, from the settings class."""
    return {
        name.upper(): "required" if field.is_required() else WORDED.get(name.upper(), worded(field.default))
        for name, field in Settings.model_fields.items()
    }


def test_the_page_tells_every_setting_and_its_default():
    """One row per setting, no row for what does not exist, each default as it is."""
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| [^|]{20,} \|$", page, re.MULTILINE)
    assert {name: default.strip("` ") for name, default in rows} == expected()
    assert len(rows) == len(expected())


def test_examples_set_only_what_exists():
    """Every variable of the compose service and of the example file is a setting, or compose's own."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    example = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    used = {*compose["services"]["strait"]["environment"], *example} - {"POSTGRES_PASSWORD"}
    assert used - expected().keys() == set()
