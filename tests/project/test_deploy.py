"""Compose file, image, unit file and the example settings: their shape, and that no working secret is among them."""

from __future__ import annotations

import configparser
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.project.tree import ROOT

SECRETS = ("INTERNAL_SECRET", "JWT_SIGNING_KEY", "POSTGRES_PASSWORD")
DRAIN_TIMEOUT_SECS = 30


def compose() -> dict[str, Any]:
    """The compose file as data."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def seconds(text: str) -> int:
    """A compose or systemd length that is given in whole seconds."""
    match = re.fullmatch(r"(\d+)s?", text)
    assert match, text
    return int(match.group(1))


def unit() -> configparser.ConfigParser:
    """The unit file; of a key given twice the last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "deploy/strait.service", encoding="utf-8")
    return parser


def dockerfile() -> list[str]:
    """The instructions of the Dockerfile, continued lines joined."""
    joined = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def test_compose_runs_the_three_services_on_loopback():
    """PostgreSQL 18, Redis 8 and Strait, each on its usual port of this machine only."""
    services = compose()["services"]
    assert {name: service["ports"] for name, service in services.items()} == {
        "postgres": ["127.0.0.1:5432:5432"],
        "redis": ["127.0.0.1:6379:6379"],
        "strait": ["127.0.0.1:8080:8080"],
    }
    assert services["postgres"]["image"] == "postgres:18"
    assert services["redis"]["image"] == "redis:8"
    assert (ROOT / services["strait"]["build"]["dockerfile"]).is_file()


def test_compose_waits_for_health():
    """Strait starts when both servers answer; its own check is part of the image."""
    services = compose()["services"]
    assert all("healthcheck" in services[name] for name in ("postgres", "redis"))
    assert services["strait"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }
    assert any(line.startswith("HEALTHCHECK") for line in dockerfile())


def test_compose_keeps_the_database_where_the_image_puts_it():
    """PostgreSQL 18's image keeps its data below /var/lib/postgresql; a volume on …/data would stay empty."""
    assert compose()["services"]["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "postgres" in compose()["volumes"]


def test_compose_has_no_secret_of_its_own():
    """Each secret must come from the environment, and compose refuses to start without it, saying what to set."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = re.findall(r"\$\{(\w+)(:\?)?([^}]*)\}", text)
    for name in SECRETS:
        uses = [(required, hint) for found, required, hint in used if found == name]
        assert uses, name
        assert all(required and name in hint for required, hint in uses), name
    environment = compose()["services"]["strait"]["environment"]
    for name, value in environment.items():
        if any(word in name for word in ("SECRET", "KEY", "PASSWORD")):
            assert value.startswith("${"), name


def test_a_stop_outlasts_the_drain():
    """Neither compose nor systemd kills a daemon that still has time to finish what is in flight."""
    assert seconds(compose()["services"]["strait"]["stop_grace_period"]) > DRAIN_TIMEOUT_SECS
    assert seconds(unit()["Service"]["TimeoutStopSec"]) > DRAIN_TIMEOUT_SECS


def test_example_settings_hold_no_secret():
    """The example names every secret and gives none; those that compose insists on are among them."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given.values()) == {""}
    assert given.keys() >= set(SECRETS)
    assert set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))) == set(SECRETS)


def test_settings_stay_out_of_git_and_out_of_the_image():
    """`.env` is ignored by git, and the image is built from named files only."""
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"
    # 0: ignored, 1: not. The answer does not depend on who owns the checkout.
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "check-ignore", "--quiet", "--no-index"]
    ignored = {name: subprocess.run([*command, name], check=False).returncode for name in (".env", ".env.example")}
    assert ignored == {".env": 0, ".env.example": 1}


def test_image_is_built_in_two_stages_and_runs_as_nobody_special():
    """What builds stays behind; what runs is a plain user with a health check by the interpreter that is there."""
    lines = dockerfile()
    assert sum(line.startswith("FROM ") for line in lines) == 2
    last = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]
    (user,) = (line.split()[1] for line in last if line.startswith("USER "))
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) > 0
    (health,) = (line for line in last if line.startswith("HEALTHCHECK"))
    assert '"python"' in health
    assert "curl" not in health
    installs = [line for line in lines if "pip install" in line and "-r " in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_image_copies_only_what_its_context_lets_in():
    """Every COPY from the checkout names files that exist and that .dockerignore lets through."""
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    ]
    sources = [
        word
        for line in dockerfile()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert sources
    assert {source for source in sources if source not in allowed or not (ROOT / source).exists()} == set()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ExecStart", "/opt/strait/bin/strait serve --mode all"),
        ("EnvironmentFile", "/etc/strait/strait.env"),
        ("KillSignal", "SIGTERM"),
        ("KillMode", "mixed"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
    ],
)
def test_unit_says(key: str, value: str):
    """The unit starts the daemon as a person would, drains it on stop and takes away what it does not need."""
    assert unit()["Service"][key] == value


def test_unit_carries_no_setting_and_no_secret():
    """Settings come from the file alone: a unit is world-readable."""
    service = unit()["Service"]
    assert "Environment" not in service
    assert service["User"] not in {"root", "0"}
    assert unit()["Install"]["WantedBy"] == "multi-user.target"
