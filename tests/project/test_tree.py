"""What must not be written down anywhere in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project.tree import PACKAGES, files, text

# Files that configure, install or explain. A URL in one of these is followed by a person or a program.
INSTALLING = {".toml", ".txt", ".in", ".sh", ".yml", ".yaml", ".md", ".service", ".cfg", ".ini", ".example", ""}
URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'`<>)\]}|]+", re.IGNORECASE)
# Standards and licences that are cited, and names that are reserved for examples. Everything else is a dependency
# on somebody's host, which does not belong here: packages come from wherever the reader's client is set up to look.
CITED = {
    "www.apache.org",
    "www.rfc-editor.org",
    "spec.openapis.org",
    "json-schema.org",
    "keepachangelog.com",
    "clig.dev",
    "www.w3.org",
}
LOCAL = {"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "host", "redis", "postgres", "db"}
RESERVED = re.compile(r"(^|\.)(example(\.(com|net|org))?|test|invalid|localhost|local)$")

# Home and build folders of particular machines, in pieces so that this file keeps its own rule.
MACHINE_PATH = re.compile(
    r"(?<![\w.}~-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "home/" + r"\w+", "Users/" + r"\w+"]) + r")/\w"
)
INSTALLER_OPTION = re.compile(
    r"\bpip\b.*\s-i\s|(^|\s)--(?!no-index)((\w+-)?index(-\w+)?|find-links|trusted-host)[\s=]\S*(/|://)"
)


def names_hosts(path: Path) -> bool:
    """Whether the host rule holds for the file; tests are full of hostile addresses, bundled assets of credits."""
    return "assets" not in path.parts and (path.suffix in INSTALLING or path.parts[0] in {*PACKAGES, "tools"})


def host(url: str) -> str:
    """The host of a URL in lower case, without user, password and port."""
    authority = re.split(r"[/?#\\]", url.partition("://")[2], maxsplit=1)[0]
    return re.sub(r":[^\]:]*$", "", authority.rpartition("@")[2]).lower().rstrip(".,;:")


def urls(content: str) -> list[str]:
    """Every URL in the text; what a shell or compose would fill in stands as an ellipsis."""
    return URL.findall(re.sub(r"\$\{[^}]*\}|\$\w+|\{[\w.\[\]\"']*\}", "…", content.replace("\\", "")))


def foreign(url: str) -> bool:
    """Whether the URL names somebody's real host."""
    name = host(url)
    if name in CITED | LOCAL or not re.fullmatch(r"[a-z0-9_.\[\]:-]+", name):
        return False
    return RESERVED.search(name) is None


@pytest.mark.parametrize("path", [path for path in files() if names_hosts(path)], ids=str)
def test_no_foreign_host(path: Path):
    """Nothing that installs, configures or explains names a registry or another host of somebody's."""
    content = text(path)
    assert content is not None, "a binary file with the name of a text file"
    assert [url for url in urls(content) if foreign(url)] == []


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://registry.acme.io/simple", True),
        ("http://127.0.0.1:8080/v1", False),
        ("postgres://u:p@db.example:5432/x", False),
        ("https://api.example.com/a", False),
    ],
)
def test_the_host_rule_would_notice(url: str, answer: bool):
    """A real host is told from loopback and from the reserved names."""
    assert foreign(url) is answer


def test_no_machine_path():
    """No file knows whose machine it was written on."""
    found = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files()
        if "assets" not in path.parts and (content := text(path)) is not None
        for number, line in enumerate(content.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_no_installer_is_told_where_to_look():
    """Index addresses belong to the machine that installs."""
    found = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files()
        if path.suffix in INSTALLING and (content := text(path)) is not None
        for number, line in enumerate(content.splitlines(), 1)
        if INSTALLER_OPTION.search(line)
    ]
    assert found == []


def test_no_settings_file_is_tracked():
    """`.env` holds secrets: git ignores it, and only the empty example is shared."""
    assert [str(path) for path in files() if path.name.startswith(".env") and path.name != ".env.example"] == []
    ignored = (text(Path(".gitignore")) or "").splitlines()
    assert {".env", "!.env.example"} <= set(ignored)
