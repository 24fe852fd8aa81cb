"""Settings: every name with and without its prefix, bounds, units, and all faults in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from strait_core.address import read_openings
from strait_core.errors import ConfigError
from strait_daemon.banner import banner
from strait_daemon.dev import DevOptions, _overrides
from strait_daemon.settings import MIN_SECRET, PLACEHOLDERS, Mode, Settings, load

GOOD: Final = {
    "DATABASE_URL": "postgresql://me:hidden-password@db.example:5432/strait",
    "INTERNAL_SECRET": "i" * MIN_SECRET,
    "JWT_SIGNING_KEY": "j" * MIN_SECRET,
    "ENCRYPTION_KEY": "e" * MIN_SECRET,
}
# A value for each setting that is not its default, as it stands in the environment, and what it means.
OTHER: Final[dict[str, tuple[str, Any]]] = {
    "DATABASE_URL": ("postgres://other/db", "postgres://other/db"),
    "DATABASE_DIRECT_URL": ("postgresql://direct/db", "postgresql://direct/db"),
    "REDIS_URL": ("redis://cache/1", "redis://cache/1"),
    "INTERNAL_SECRET": ("x" * 40, "x" * 40),
    "JWT_SIGNING_KEY": ("y" * 40, "y" * 40),
    "ENCRYPTION_KEY": (f"{'n' * 40}, {'o' * 40}", f"{'n' * 40}, {'o' * 40}"),
    "LOG_LEVEL": ("WARN", "warning"),
    "LOG_FORMAT": ("json", "json"),
    "HOST": ("::1", "::1"),
    "PORT": ("9090", 9090),
    "MODE": ("worker", "worker"),
    "WORKER_POOL_SIZE": ("7", 7),
    "HEARTBEAT_INTERVAL": ("2s", 2.0),
    "STALE_THRESHOLD": ("2m", 120.0),
    "REAPER_INTERVAL": ("1500ms", 1.5),
    "DRAIN_TIMEOUT": ("0.5h", 1_800.0),
    "BREAKER_COOLDOWN": ("90s", 90.0),
    "RETENTION_SHORT_DAYS": ("0", 0),
    "RETENTION_LONG_DAYS": ("7", 7),
    "METRICS_PUBLIC": ("true", True),
    "CHANGES_REDIS_STREAM": ("strait:changes", "strait:changes"),
    "CHANGES_WEBHOOK_URL": ("https://receiver.example.com/x", "https://receiver.example.com/x"),
    "CHANGES_WEBHOOK_SECRET": ("w" * 40, "w" * 40),
    "ALLOW_PRIVATE_ENDPOINTS": ("10.20.0.0/16, fd12::/16", read_openings("10.20.0.0/16,fd12::/16")),
}

# What a setting is nothing without.
WITH: Final = {
    "CHANGES_REDIS_STREAM": "REDIS_URL",
    "CHANGES_WEBHOOK_URL": "CHANGES_WEBHOOK_SECRET",
    "CHANGES_WEBHOOK_SECRET": "CHANGES_WEBHOOK_URL",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OTHER:
        for spelling in (name, f"STRAIT_{name}", name.lower()):
            monkeypatch.delenv(spelling, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def value_of(settings: Settings, name: str) -> Any:
    """A setting's plain value."""
    value = getattr(settings, name.lower())
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def faults(**overrides: Any) -> str:
    """What loading says is wrong."""
    with pytest.raises(ConfigError) as caught:
        load(overrides)
    return caught.value.message


def test_every_setting_is_tried_here() -> None:
    """A setting that is added must be added here too."""
    known = {name.upper() for name, field in Settings.model_fields.items() if field.validation_alias is not None}
    assert set(OTHER) <= known
    assert {name for name in known - set(OTHER) if not name.startswith("SUPERVIS")} <= {"PROCESSES"}


@pytest.mark.parametrize("prefix", ["", "STRAIT_"])
@pytest.mark.parametrize("name", OTHER)
def test_a_setting_by_either_name(monkeypatch: pytest.MonkeyPatch, name: str, prefix: str) -> None:
    """Each setting works with and without STRAIT_, with its unit or its spelling."""
    text, meant = OTHER[name]
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(prefix + name, text)
    if name in WITH:
        assert name in faults()
        monkeypatch.setenv(WITH[name], OTHER[WITH[name]][0])
    settings, _ = load()
    assert value_of(settings, name) == meant


def test_the_prefixed_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who wrote STRAIT_PORT means this program; an empty value is no value."""
    monkeypatch.setenv("PORT", "1111")
    monkeypatch.setenv("STRAIT_PORT", "2222")
    assert load()[0].port == 2222
    monkeypatch.setenv("STRAIT_PORT", "")
    assert load()[0].port == 1111


@pytest.mark.parametrize("name", ["MODE", "STRAIT_MODE"])
def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`serve --mode worker` means worker, whatever is exported under either name."""
    monkeypatch.setenv(name, "all")
    assert load({"mode": "worker"})[0].mode is Mode.WORKER


def test_names_are_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable in small letters is somebody else's: it neither sets anything nor slips past a check."""
    monkeypatch.setenv("port", "9999")
    monkeypatch.delenv("INTERNAL_SECRET")
    monkeypatch.setenv("internal_secret", "short")
    assert "INTERNAL_SECRET is not set" in faults()
    monkeypatch.setenv("INTERNAL_SECRET", GOOD["INTERNAL_SECRET"])
    assert load()[0].port == 8080


def test_all_faults_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message names every fault with its fix, and none of them shows a secret."""
    for name, value in {
        "DATABASE_URL": "mysql://me:hidden-password@db/strait",
        "REDIS_URL": "http://:hidden-password@cache",
        "INTERNAL_SECRET": "too-short-secret",
        "PORT": "0",
        "MODE": "everything",
        "HEARTBEAT_INTERVAL": "soon",
        "WORKER_POOL_SIZE": "-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JWT_SIGNING_KEY")
    said = faults()
    for name in ("INTERNAL_SECRET", "PORT", "MODE", "HEARTBEAT_INTERVAL", "WORKER_POOL_SIZE", "JWT_SIGNING_KEY"):
        assert name in said
    for name in ("DATABASE_URL", "REDIS_URL"):
        assert name in said
    assert "openssl rand -base64 32" in said
    assert "hidden-password" not in said
    assert "too-short-secret" not in said
    assert said.count("\n  - ") == int(said.split("has ")[1].split(" fault")[0])


def test_a_missing_database_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set it, or use `strait dev`."""
    monkeypatch.delenv("DATABASE_URL")
    said = faults()
    assert "DATABASE_URL is not set" in said
    assert "strait dev" in said


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("PORT", ["1", "65535"], ["0", "65536", "http", "1.5"]),
        ("WORKER_POOL_SIZE", ["1", "20000"], ["0", "20001", "many"]),
        ("HEARTBEAT_INTERVAL", ["100ms", "20"], ["99ms", "601", "nan", "inf", "-1", "1 year", ""]),
        ("STALE_THRESHOLD", ["30", "24h"], ["29.9", "86401", "never"]),
        ("REAPER_INTERVAL", ["0.1", "1h"], ["0", "3601"]),
        ("DRAIN_TIMEOUT", ["0", "1h"], ["-1", "3601"]),
        ("BREAKER_COOLDOWN", ["100ms", "24h"], ["0", "86401", "never"]),
        ("RETENTION_SHORT_DAYS", ["0", "36500"], ["-1", "36501", "1d"]),
        ("LOG_LEVEL", ["debug", "Info", "WARN", "error"], ["loud"]),
        ("LOG_FORMAT", ["text", "json"], ["xml"]),
        ("METRICS_PUBLIC", ["1", "false", "yes"], ["perhaps"]),
        ("MODE", ["all", "api", "worker"], ["ALL OF IT"]),
        ("REDIS_URL", ["redis://h", "rediss://h:1/2", "unix:///s"], ["http://h", "h:6379"]),
    ],
)
def test_bounds(monkeypatch: pytest.MonkeyPatch, name: str, good: list[str], bad: list[str]) -> None:
    """Both ends of each range are in it, and what is outside is a fault that names the setting."""
    for text in good:
        monkeypatch.setenv(name, text)
        load()
    for text in bad:
        monkeypatch.setenv(name, text)
        if text == "":
            load()
        else:
            assert name in faults()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "strait.example"])
@pytest.mark.parametrize("name", ["INTERNAL_SECRET", "JWT_SIGNING_KEY"])
def test_placeholders_are_refused_off_loopback(monkeypatch: pytest.MonkeyPatch, name: str, host: str) -> None:
    """A secret out of our own documentation is a warning on loopback and a fault elsewhere, by flag or variable."""
    for placeholder in PLACEHOLDERS:
        monkeypatch.setenv(name, placeholder)
        _, warnings = load()
        assert len(warnings) == 1
        assert name in warnings[0]
        assert placeholder not in warnings[0]
        assert name in faults(host=host)
        monkeypatch.setenv("STRAIT_HOST", host)
        assert name in faults()
        monkeypatch.delenv("STRAIT_HOST")


@pytest.mark.parametrize("length", [1, 31])
def test_short_secrets_are_refused_everywhere(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """31 characters are too few even on loopback; the message gives the length and the way to a new one."""
    monkeypatch.setenv("STRAIT_INTERNAL_SECRET", "s" * length)
    said = faults()
    assert f"has {length} characters" in said
    assert "openssl rand" in said


def test_settings_show_no_secret() -> None:
    """Whatever prints them prints stars."""
    settings, _ = load()
    for shown in (repr(settings), str(settings), str(settings.model_dump())):
        assert "hidden-password" not in shown
        assert "i" * MIN_SECRET not in shown


def test_the_first_encryption_key_seals_and_the_signing_key_comes_last(monkeypatch: pytest.MonkeyPatch):
    """A comma list in its order, blanks aside; what was sealed before there was one stays readable."""
    monkeypatch.setenv("ENCRYPTION_KEY", f" {'n' * 40} , {'o' * 40},")
    assert load()[0].sealing_keys == ["n" * 40, "o" * 40, GOOD["JWT_SIGNING_KEY"]]


@pytest.mark.parametrize("value", ["", " , "])
def test_without_an_encryption_key_there_is_a_warning(monkeypatch: pytest.MonkeyPatch, value: str):
    """The signing key stands in, and the warning says what hangs on it."""
    monkeypatch.setenv("ENCRYPTION_KEY", value)
    settings, (warning,) = load()
    assert settings.sealing_keys == [GOOD["JWT_SIGNING_KEY"]]
    assert "ENCRYPTION_KEY is not set" in warning
    assert "openssl rand" in warning


def test_a_short_encryption_key_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    """Counted, so that the one of several is found; not repeated."""
    monkeypatch.setenv("ENCRYPTION_KEY", f"{'n' * 40},too-short")
    said = faults()
    assert "key 2 of ENCRYPTION_KEY has 9 characters" in said
    assert "too-short" not in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CHANGES_WEBHOOK_URL": "ftp://x.example.com"}, "CHANGES_WEBHOOK_URL must be an http:// or https:// URL"),
        ({"CHANGES_WEBHOOK_URL": "https://me:hidden-password@x.example.com"}, "must not carry a user name or password"),
        ({"CHANGES_WEBHOOK_URL": "http://127.0.0.1/hidden-password"}, "CHANGES_WEBHOOK_URL"),
        ({"CHANGES_WEBHOOK_SECRET": "hidden-password"}, "has 15 characters and needs at least 32"),
        ({"CHANGES_WEBHOOK_SECRET": "whsec_hidden-password-hidden-password"}, "must be base 64 after whsec_"),
        ({"CHANGES_WEBHOOK_SECRET": "hidden-password " * 4}, "CHANGES_WEBHOOK_SECRET must be"),
        ({"CHANGES_REDIS_STREAM": "two words"}, "CHANGES_REDIS_STREAM"),
    ],
)
def test_sinks_that_cannot_be_sent_to(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: str):
    """Said at start, with the setting's name and without what it holds; a private receiver may be opened."""
    for name in (*WITH, "REDIS_URL"):
        monkeypatch.setenv(name, OTHER[name][0])
    assert load()[0].sinks == ("redis", "webhook")
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    found = faults()
    assert said in found
    assert "hidden-password" not in found
    if "127.0.0.1" in str(changes):
        monkeypatch.setenv("ALLOW_PRIVATE_ENDPOINTS", "true")
        settings, _ = load()
        assert "hidden-password" not in f"{settings!r} {settings.model_dump()}"
        assert "127.0.0.1" in banner(settings)
        assert "hidden-password" not in banner(settings)


def test_dev_leaves_a_failing_endpoint_alone_for_five_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Not for a minute, unless somebody says so."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load(_overrides(DevOptions(), None))[0].breaker_cooldown == 5
    monkeypatch.setenv("BREAKER_COOLDOWN", "2m")
    assert load(_overrides(DevOptions(), None))[0].breaker_cooldown == 120
