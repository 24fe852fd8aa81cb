"""Dependencies: pinned with hashes, each with a reason on record, each under a licence we can ship with."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.project.tree import ROOT, files

PINNED = [path for path in files() if path.match("requirements/*.txt")]
RECORD = ROOT / "docs/decisions/0001-dependencies.md"

# What the licence of a package may say, however it is spelled. All permissive, or weak copyleft used unmodified.
ALLOWED = re.compile(
    r"apache|\bMIT\b|\bBSD\b|\bISC\b|\bPSF|python software foundation|mozilla public license 2|\bMPL-2|"
    r"\bLGPL|lesser general public|postgresql|unlicense|public domain|0BSD|CC0|zlib",
    re.IGNORECASE,
)
REFUSED = re.compile(
    r"\bA?GPL|affero|(?<!lesser )general public license|proprietary|SSPL|BUSL|commons clause", re.IGNORECASE
)


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, object]:
    """The [project] table of pyproject.toml."""
    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def name_of(requirement: str) -> str:
    """The canonical name at the head of a requirement line."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return canonical(match.group())


def direct() -> set[str]:
    """Every dependency that we name ourselves: the program's, the extra's, the developers'."""
    table = project()
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    lines = [*table["dependencies"], *(line for group in extras.values() for line in group)]  # type: ignore[misc]
    for path in files():
        if path.match("requirements/*.in"):
            lines += [
                line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
            ]
    return {name_of(line) for line in lines}


def pins(path: Path) -> dict[str, str]:
    """The pins of one requirements file: canonical name to everything that stands in its entry."""
    joined = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return {name_of(entry): entry for entry in entries}


@pytest.mark.parametrize("path", PINNED, ids=str)
def test_every_pin_is_exact_and_hashed(path: Path):
    """A requirements file installs the same bytes everywhere, or nothing."""
    entries = pins(path)
    assert entries
    for entry in entries.values():
        assert re.match(r"[a-z0-9.-]+(\[[a-z, ]+\])?==[^\s;]+ ", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
        assert "://" not in entry, entry[:80]
        assert not re.search(r"--(?!hash=sha256:)", entry), entry[:80]


def test_what_ships_is_pinned():
    """Every dependency of the program stands in the runtime and the developers' requirements, in one version."""
    runtime, dev = pins(Path("requirements/runtime.txt")), pins(Path("requirements/dev.txt"))
    wanted = {name_of(line) for line in project()["dependencies"]}  # type: ignore[attr-defined]
    assert wanted - runtime.keys() == set()
    assert {name for name in runtime if dev.get(name, "").split()[:1] != runtime[name].split()[:1]} == set()


def test_no_second_lock():
    """There is one place where versions are pinned."""
    assert [
        str(path) for path in files() if path.name in {"uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock"}
    ] == []


def test_every_dependency_has_its_reason():
    """The decision record has a row for each: why, who keeps it, what else was weighed; and no row for what has gone."""
    rows = re.findall(r"^\| *`([^`]+)` *\|(.+)\|$", RECORD.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name_of(name) for name, _ in rows}
    assert direct() - named == set()
    assert named - direct() == set()
    for name, rest in rows:
        cells = [cell.strip() for cell in rest.split("|")]
        assert len(cells) == 3, name
        assert all(cells), name


def test_typer_stays_below_the_version_that_was_tried():
    """The command line's parser is held to the range that its rendering was written for."""
    assert "typer>=0.28,<0.29" in project()["dependencies"]  # type: ignore[operator]


def licence(distribution: metadata.Distribution) -> str:
    """Everything the package says of its licence: expression, classifiers, or the first line of the old field."""
    meta = distribution.metadata

    def said(field: str) -> list[str]:
        return [str(value).strip() for value in meta.get_all(field) or []]

    classifiers = [value.rpartition("::")[2].strip() for value in said("Classifier") if value.startswith("License ::")]
    named = [value for value in classifiers if value != "OSI Approved"]
    return "; ".join(said("License-Expression") or named) or "".join(said("License")).partition("\n")[0]


def test_every_licence_lets_us_ship():
    """Everything that is pinned and installed here is under a permissive or a weak copyleft licence."""
    wanted = {name for path in PINNED for name in pins(path)}
    installed = {canonical(dist.metadata["Name"]): dist for dist in metadata.distributions()}
    said = {name: licence(installed[name]) for name in sorted(wanted & installed.keys())}
    assert len(said) > 40
    assert {name: words for name, words in said.items() if not ALLOWED.search(words) or REFUSED.search(words)} == {}
