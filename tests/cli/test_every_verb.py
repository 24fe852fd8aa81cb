"""Every verb against a real daemon: in a process of its own, and in this one in a pipe and on a terminal, each format."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import pytest
import yaml

from strait_cli.context import FORMATS
from strait_cli.reference import every_command
from strait_cli.table import width
from tests.cli.runner import Answer, Shell
from tests.cli.verbs import ELSEWHERE, EMPTY, LINES, LONG, REFUSED, SILENT, TEXT, Place
from tests.support.daemon import ROOT, SECRET, Daemon, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What a bar draws on stderr beside colours: the cursor hidden and shown, lines taken back.
BAR = re.compile(r"\x1b\[(\?25[lh]|[0-9]*[AKGJ])|\r")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, cli_database: str, cli_daemon: Daemon, cli_endpoint: Endpoint
) -> Iterator[Place]:
    """One home and one project for all verbs, and a worker beside the daemon that may be drained."""
    settings = {"STRAIT_SERVER": cli_daemon.url, "INTERNAL_SECRET": SECRET, "STRAIT_PROJECT": "every-verb"}
    place = Place(Shell(tmp_path_factory.mktemp("verbs"), settings), cli_daemon, cli_endpoint)
    place.prepare()

    def workers() -> set[str]:
        return {one["id"] for one in cli_daemon.call("GET", "/v1/workers")["data"]}

    before = workers()
    with running_daemon(cli_database, mode="worker"):
        (place.lasting["worker"],) = eventually(lambda: workers() - before)
        yield place


def test_no_verb_is_forgotten():
    """The table has every verb there is, and no other; what is tested elsewhere is named there."""
    verbs = {" ".join(command.words) for command in every_command() if not command.is_group} | {"dev"}
    assert set(LINES) | set(ELSEWHERE) == verbs
    assert not set(LINES) & set(ELSEWHERE)
    for verb, file in ELSEWHERE.items():
        text = (ROOT / file).read_text()
        assert '"{}"'.format('", "'.join(verb.split())) in text or f"strait {verb}" in text, verb


@pytest.mark.parametrize("verb", LINES)
def test_in_a_pipe(place: Place, verb: str):
    """Every format can be read back by a program; no colour, nothing but data on stdout."""
    for form in FORMATS:
        refused = form in REFUSED.get(verb, ())
        answer = place.shell.run(*place.words(verb), "-o", form, code=2 if refused else 0)
        assert "\x1b" not in answer.out + answer.err
        if not refused:
            judge(verb, form, answer)


def judge(verb: str, form: str, answer: Answer) -> None:
    """Whether the output is what its format says."""
    if verb in SILENT:
        assert answer.out == ""
    elif verb not in TEXT and not (verb in EMPTY and answer.out == ""):
        assert answer.out.endswith("\n")
        read(verb, form, answer)


def read(verb: str, form: str, answer: Answer) -> None:
    """Read the output as a program would."""
    match form:
        case "json" if verb == "trigger":
            assert answer.json["status"] == "completed"
        case "json":
            assert answer.json is not None
        case "jsonl":
            assert answer.lines
        case "yaml":
            assert yaml.safe_load(answer.out) is not None
        case "csv":
            assert len({len(row) for row in csv.reader(io.StringIO(answer.out))}) == 1
        case "name":
            assert "\t" not in answer.out


@pytest.mark.parametrize("verb", LINES)
def test_on_a_terminal(place: Place, verb: str):
    """In every format nothing but colours drives it; tables fit, and what programs read has no colour even there."""
    shown = place.shell.run(*place.words(verb), columns=80, code=0)
    assert CONTROL.search(BAR.sub("", COLOURS.sub("", shown.out + shown.err))) is None
    if verb not in LONG:
        assert max(map(width, COLOURS.sub("", shown.out).splitlines()), default=0) <= 80
    for form in FORMATS:
        refused = form in REFUSED.get(verb, ())
        answer = place.shell.run(*place.words(verb), "-o", form, columns=80, code=2 if refused else 0)
        assert CONTROL.search(BAR.sub("", COLOURS.sub("", answer.out + answer.err))) is None
        if form not in {"table", "wide"}:
            assert "\x1b" not in answer.out


@pytest.mark.parametrize("verb", LINES)
def test_in_a_process_of_its_own(place: Place, verb: str):
    """It loads what it needs by itself, and says the same."""
    answer = place.shell.run(*place.words(verb), fresh=True)
    assert answer.code == 0, answer.err
    judge(verb, "table", answer)
