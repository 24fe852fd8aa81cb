"""Decision records, change fragments, the README and the Makefile keep their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project.tree import ROOT, files

DECISIONS = [path for path in files() if path.match("docs/decisions/[0-9]*.md")]
SECTIONS = ["Context", "Choice", "Figures", "What would change it"]
ONE_PAGE_WORDS = 900
FRAGMENT = re.compile(r"[a-z0-9][a-z0-9-]*\.(added|changed|fixed|removed|security)\.md")
TARGETS = {"demo", "test", "check", "bench", "docs", "setup", "test-system", "soak", "audit", "clean", "help"}


def read(path: Path | str) -> str:
    """A file of the checkout."""
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DECISIONS, ids=str)
def test_decision_has_its_sections(path: Path):
    """Context, choice, figures and what would change it: in this order, each with something to say, on one page."""
    content = read(path)
    parts = re.split(r"^## (.+)$", content, flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    assert all(len(body.split()) >= 10 for body in parts[2::2])
    assert re.match(rf"# {path.name[:4]} \S", content)
    if path.name != "0001-dependencies.md":
        assert len(content.split()) <= ONE_PAGE_WORDS


def test_decisions_are_numbered_without_gaps():
    """A record is never renumbered or removed: a later one supersedes it."""
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]


def test_decisions_are_all_in_the_index():
    """docs/decisions/README.md lists every record."""
    index = read("docs/decisions/README.md")
    assert [path.name for path in DECISIONS if f"({path.name})" not in index] == []


def test_change_fragments_are_named_by_kind():
    """One file per change in changelog.d, its kind in its name."""
    names = [path.name for path in files() if path.parts[0] == "changelog.d" and path.name != "README.md"]
    assert names
    assert [name for name in names if not FRAGMENT.fullmatch(name)] == []
    assert [name for name in names if not read(Path("changelog.d", name)).strip()] == []


def test_the_readme_begins_with_the_two_commands():
    """What to type stands before anything that is to be read at leisure."""
    first = read("README.md").split("\n## ")[0]
    assert "make demo" in first
    assert "make test" in first


def test_the_contributors_page_says_how():
    """Adding a command, a service and a statement each have their steps."""
    headings = re.findall(r"^## (.+)$", read("CONTRIBUTING.md"), re.MULTILINE)
    assert {"Add a command", "Add a service", "Add a statement"} <= set(headings)


def test_the_makefile_has_the_targets_people_are_told_of():
    """Each target exists, says what it is for, and is no file."""
    makefile = read("Makefile")
    described = dict(re.findall(r"^([a-z-]+):.*?## (.+)$", makefile, re.MULTILINE))
    assert described.keys() >= TARGETS
    phony = {name for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for name in line.split()}
    assert described.keys() - phony == set()


def test_ci_runs_the_same_targets_as_a_person():
    """`.ci/run` adds system packages and nothing of its own."""
    script = read(".ci/run")
    assert "for target in check test test-system; do" in script
    assert "export CI=true" in script
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


@pytest.mark.parametrize("path", [path for path in files() if path.suffix == ".md"], ids=str)
def test_links_lead_somewhere(path: Path):
    """Every relative link of a page names a file that exists."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", read(path), flags=re.DOTALL))
    relative = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in relative if not (ROOT / path.parent / target).exists()] == []
