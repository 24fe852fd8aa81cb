"""The one renderer: every format on a terminal and in a pipe, selection, and what must never reach a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strait_cli import selection, times
from strait_cli.output import Printer, Terminal, View, terminal_of
from strait_cli.table import Column, cut, safe, width
from strait_core.errors import UsageError

NOW = datetime.now(UTC)
AGO = (NOW - timedelta(hours=5, minutes=30)).isoformat().replace("+00:00", "Z")
ITEMS: list[dict[str, Any]] = [
    {"id": "run_1", "status": "completed", "created_at": AGO, "n": 3, "tags": {"a": "b"}, "error": None},
    {"id": "run_2", "status": "failed", "created_at": AGO, "n": 20, "tags": {}, "error": "HTTP 500: \x1b[31mred\u202e"},
]
COLUMNS = (
    Column("id"),
    Column("status", kind="status"),
    Column("created_at", "created", "time"),
    Column("n", kind="number"),
    Column("error", shrinks=True),
    Column("tags", wide=True),
)
TTY = Terminal(60, color=True)
PIPE = Terminal(None, color=False)


def rendered(capsys: pytest.CaptureFixture[str], view: View, out: Terminal = PIPE, items: Any = ITEMS) -> str:
    """What a list looks like."""
    Printer(view, out, PIPE).items(items, COLUMNS)
    return capsys.readouterr().out


def test_a_table_on_a_terminal(capsys: pytest.CaptureFixture[str]):
    """Aligned, numbers to the right, relative times, states in colour, cut to the terminal's width."""
    assert rendered(capsys, View(), TTY).splitlines() == [
        "\x1b[1mID     STATUS     CREATED   N  ERROR\x1b[0m",
        "run_1  \x1b[32mcompleted\x1b[0m  5h ago    3  -",
        "run_2  \x1b[31mfailed   \x1b[0m  5h ago   20  HTTP 500: \ufffd[31mred\ufffd",
    ]


SPARING = (*COLUMNS[:2], replace(COLUMNS[3], spare=True), replace(COLUMNS[2], spare=True), *COLUMNS[4:])


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (50, "ID STATUS N CREATED ERROR"),
        (33, "ID STATUS N ERROR"),
        (27, "ID STATUS ERROR"),
        # No narrower: what is left wraps.
        (10, "ID STATUS ERROR"),
    ],
)
def test_a_narrow_table_leaves_out_what_is_spare(capsys: pytest.CaptureFixture[str], columns: int, headings: str):
    """From the right, until the rest fits; not with `-o wide` and not where fields were named."""
    out = Terminal(columns, color=False)
    Printer(View(), out, PIPE).items(ITEMS, SPARING)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == headings.split()
    assert columns < 27 or max(map(width, lines)) <= columns
    Printer(View(fields=("id", "status", "created_at", "n")), out, PIPE).items(ITEMS, SPARING)
    assert capsys.readouterr().out.splitlines()[0].split() == ["ID", "STATUS", "CREATED", "AT", "N"]


def test_a_narrow_table_leaves_out_what_says_nothing_first(capsys: pytest.CaptureFixture[str]):
    """A column without a single value is not worth a wrapped line."""
    Printer(View(), Terminal(30, color=False), PIPE).items(ITEMS[:1], SPARING)
    assert capsys.readouterr().out.splitlines()[0].split() == ["ID", "STATUS", "N", "CREATED"]


def test_a_table_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    """Tab-separated, ISO times, no colour, nothing cut."""
    assert rendered(capsys, View()).splitlines() == [
        "ID\tSTATUS\tCREATED\tN\tERROR",
        f"run_1\tcompleted\t{AGO}\t3\t",
        f"run_2\tfailed\t{AGO}\t20\tHTTP 500: \ufffd[31mred\ufffd",
    ]


def test_a_wide_table_without_headers(capsys: pytest.CaptureFixture[str]):
    """`-o wide` adds columns, `--no-headers` takes the first line."""
    lines = rendered(capsys, View(format="wide", headers=False)).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["run_1", "run_2"]
    assert lines[0].split("\t")[-1] == "a=b"


def test_json_is_the_objects_themselves(capsys: pytest.CaptureFixture[str]):
    """One array, every field, values untouched."""
    assert json.loads(rendered(capsys, View(format="json"))) == ITEMS


def test_json_lines_are_one_object_each(capsys: pytest.CaptureFixture[str]):
    """One line an object."""
    assert [json.loads(line) for line in rendered(capsys, View(format="jsonl")).splitlines()] == ITEMS


def test_yaml_is_read_back(capsys: pytest.CaptureFixture[str]):
    """The same values, but for marks that reorder text."""
    expected = json.loads(json.dumps(ITEMS).replace("\\u202e", "\\ufffd"))
    assert yaml.safe_load(rendered(capsys, View(format="yaml"))) == expected


def test_csv_has_the_table_s_columns_with_plain_names(capsys: pytest.CaptureFixture[str]):
    """Field names as headings, wide columns included."""
    rows = list(csv.reader(io.StringIO(rendered(capsys, View(format="csv")))))
    assert rows[0] == ["id", "status", "created_at", "n", "error", "tags"]
    assert rows[1] == ["run_1", "completed", AGO, "3", "", "a=b"]


def test_names_are_one_a_line(capsys: pytest.CaptureFixture[str]):
    """For xargs."""
    assert rendered(capsys, View(format="name")) == "run_1\nrun_2\n"


@pytest.mark.parametrize("kind", ["table", "wide", "json", "jsonl", "yaml", "csv", "name"])
@pytest.mark.parametrize("out", [TTY, PIPE, Terminal(None, color=True), Terminal(80, color=False)])
def test_nothing_a_server_sends_drives_the_terminal(capsys: pytest.CaptureFixture[str], kind: str, out: Terminal):
    """No control character of the server's is printed in any format, and no colour in any but the tables."""
    hostile = "".join(map(chr, [*range(32), *range(0x7F, 0xA0), 0x2028, 0x202E, 0x2066])) + "x"
    items = [{**ITEMS[0], "id": hostile, "error": hostile, "tags": {hostile: hostile}}]
    text = rendered(capsys, View(format=kind), out, items)
    ours = re.sub(r"\x1b\[[0-9;]*m", "", text) if kind in {"table", "wide"} and out.color else text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066]", ours)


@pytest.mark.parametrize("kind", ["json", "jsonl", "yaml", "csv", "name"])
def test_no_colour_where_programs_read(capsys: pytest.CaptureFixture[str], kind: str):
    """Not even when colours are forced."""
    assert "\x1b" not in rendered(capsys, View(format=kind), TTY)


def test_fields_choose_and_order(capsys: pytest.CaptureFixture[str]):
    """`--fields` in JSON and in tables, dotted paths included."""
    view = View(format="json", fields=("n", "tags.a"))
    assert json.loads(rendered(capsys, view)) == [{"n": 3, "tags.a": "b"}, {"n": 20, "tags.a": None}]
    assert rendered(capsys, replace(view, format="table")).splitlines() == ["N\tTAGS.A", "3\tb", "20\t"]


@pytest.mark.parametrize("view", [View(fields=("idd",)), View(format="json", fields=("idd",)), View(sort="idd")])
def test_a_misspelt_field_is_noticed(capsys: pytest.CaptureFixture[str], view: View):
    """It is a usage error with the nearest name, not an empty column."""
    with pytest.raises(UsageError, match="idd") as caught:
        rendered(capsys, view)
    assert caught.value.hint == "did you mean `id`?"


@pytest.mark.parametrize(("sort", "first"), [("n", "run_1"), ("-n", "run_2"), ("status", "run_1"), ("error", "run_2")])
def test_sort_orders_by_value(capsys: pytest.CaptureFixture[str], sort: str, first: str):
    """Numbers by number, nulls last, `-` descending."""
    assert rendered(capsys, View(format="name", sort=sort)).splitlines()[0] == first


def test_jq_sees_the_array(capsys: pytest.CaptureFixture[str]):
    """Strings raw, everything else as JSON, one result a line."""
    assert rendered(capsys, View(jq=".[].id")) == "run_1\nrun_2\n"
    assert rendered(capsys, View(jq="map(.n) | add")) == "23\n"
    assert rendered(capsys, View(jq=".[0].tags")) == '{"a": "b"}\n'
    assert "\x1b" not in rendered(capsys, View(jq=".[1].error"))


def test_a_wrong_jq_expression_is_a_usage_error(capsys: pytest.CaptureFixture[str]):
    """With jq's own complaint."""
    with pytest.raises(UsageError, match="syntax error"):
        rendered(capsys, View(jq=".["))


def test_templates_fill_slots_and_run_nothing(capsys: pytest.CaptureFixture[str]):
    """Paths, filters and escapes; what objects hold is never interpreted."""
    assert rendered(capsys, View(template=r"{{id}}\t{{ status | upper }}")) == "run_1\tCOMPLETED\nrun_2\tFAILED\n"
    assert (
        rendered(capsys, View(template="{{created_at|relative}} {{tags|json}}")).splitlines()[0] == '5h ago {"a": "b"}'
    )
    items = [{"id": "{{status}}\\n", "status": "x"}]
    assert rendered(capsys, View(template="{{id}}"), items=items) == "{{status}}\\n\n"


@pytest.mark.parametrize("template", ["{{}}", "{{id|eval}}", "{{ids}}", "{{id()}}", "{{id|}}", "{{id.real + 1}}"])
def test_a_wrong_template_is_a_usage_error(capsys: pytest.CaptureFixture[str], template: str):
    """A wrong slot is refused; nothing is evaluated."""
    with pytest.raises(UsageError, match="--template"):
        rendered(capsys, View(template=template))


def test_what_is_no_slot_is_text(capsys: pytest.CaptureFixture[str]):
    """Braces of JSON, and a path that leads nowhere."""
    assert rendered(capsys, View(template='{"id": 1} {{id.__class__}}')).splitlines()[0] == '{"id": 1} '


@pytest.mark.parametrize(
    "view",
    [
        View(jq=".", template="{{id}}"),
        View(jq=".", fields=("id",)),
        View(jq=".", format="csv", format_named=True),
        View(template="{{id}}", format="yaml", format_named=True),
    ],
)
def test_contradicting_output_flags_are_refused(view: View):
    """Two ways of shaping the output at once make no sense."""
    with pytest.raises(UsageError):
        Printer(view, PIPE, PIPE)


@pytest.mark.parametrize(
    ("color", "environ", "tty", "expected"),
    [
        ("auto", {"TERM": "xterm"}, True, True),
        ("auto", {"TERM": "xterm"}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {}, True, False),
        ("auto", {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ("auto", {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0", "TERM": "xterm"}, True, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, False, True),
        ("never", {"FORCE_COLOR": "1", "TERM": "xterm"}, True, False),
    ],
)
def test_when_colours_are_on(color: str, environ: dict[str, str], tty: bool, expected: bool):
    """--color, then NO_COLOR, then FORCE_COLOR, then what the stream is."""

    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return tty

    assert terminal_of(Stream(), color, environ).color is expected


@given(st.text(max_size=40), st.integers(1, 30))
def test_what_is_cut_fits(text: str, wanted: int):
    """A cut text never takes more cells than it may, whatever its script."""
    cleaned = safe(text)
    assert width(cut(cleaned, wanted)) <= max(wanted, 1)


@pytest.mark.parametrize(("text", "cells"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("\u05e9\u05dc\u05d5\u05dd", 4)])
def test_width_counts_terminal_cells(text: str, cells: int):
    """Wide, combining and right-to-left characters."""
    assert width(text) == cells


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (59, "59s ago"), (60, "1m ago"), (3_599, "59m ago"), (86_400, "1d ago"), (-90, "in 1m")],
)
def test_relative_times(seconds: int, text: str):
    """The largest unit that fits, rounded down."""
    assert times.relative(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (192, "3m 12s"), (7_500, "2h 5m"), (356_400, "4d 3h")],
)
def test_lengths_of_time(seconds: float, text: str):
    """Two units that matter."""
    assert times.length(seconds) == text


@pytest.mark.parametrize(
    ("style", "text"),
    [("iso", "2030-01-31T09:00:00.5Z"), ("utc", "2030-01-31 09:00:00Z"), ("relative", "in 1d")],
)
def test_time_styles(style: str, text: str):
    """ISO is the API's own text."""
    now = datetime(2030, 1, 30, 8, tzinfo=UTC)
    assert times.shown("2030-01-31T09:00:00.5Z", style, now) == text
    assert times.shown("soon", style, now) == "soon"


def test_order_is_stable_over_mixed_values():
    """Numbers before texts before nothing, never an exception."""
    items = [{"v": value} for value in (None, "b", 2, True, [1], "A", 1.5, {"x": 1})]
    assert [one["v"] for one in selection.order(items, "v")] == [True, 1.5, 2, [1], "A", "b", {"x": 1}, None]
