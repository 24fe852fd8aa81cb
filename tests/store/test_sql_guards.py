"""The statements and constraints in SQL against the one table of moves in `run.py`: any difference fails here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import pytest

from strait_core.run import ACTIVE, REPLAYABLE, TERMINAL, TRANSITIONS, Event, Status
from strait_core.store.sql import load

STATUSES: Final = {status.value for status in Status}
FINISHES: Final = {
    Event.COMPLETE, Event.FAIL, Event.TIME_OUT, Event.CRASH, Event.SYSTEM_FAIL, Event.DEAD_LETTER,
}  # fmt: skip
GIVEN: Final = "given by the caller"

# Every statement that puts a run into a state, and the events it stands for.
MOVERS: Final[dict[str, set[Event]]] = {
    "claim": {Event.CLAIM},
    "claim_lanes": {Event.CLAIM},
    "start_if_held": {Event.START},
    "start_claimed": {Event.START},
    "finish_if_held": FINISHES,
    "retry_if_held": {Event.RETRY},
    "release_if_held": {Event.RELEASE},
    "promote_due": {Event.PROMOTE},
    "replay": {Event.REPLAY},
    "end_active": {Event.CANCEL, Event.EXPIRE, Event.SYSTEM_FAIL, Event.COMPLETE, Event.FAIL, Event.TIME_OUT},
    "park_if_held": {Event.WAIT},
    "resume_waiting": {Event.RESUME},
}
# These note what an endpoint says on its run, and leave it where it is.
NOTES: Final = {
    "beat", "set_progress", "set_checkpoint", "set_metadata", "put_output", "put_state", "drop_state", "add_lines",
    "accept_if_held", "report", "warn",
}  # fmt: skip
# This notes which live attempts take up room.
GIVES_SLOTS: Final = "give_slots"
# A drain gives a started attempt back by the statement of retries; inserts make runs, they move none.
ALSO_RELEASES: Final = "retry_if_held"
CREATES: Final = {"insert_runs", "insert_alike"}
# Moves the time that a run waits for, which is no move in the table, but has a seq.
RETIMES: Final = "reschedule"
# These change what a delayed run says, and leave it where it is.
REWRITES: Final = {"replace_delayed", "append_item"}
# These say of a run that its ending has more to do than others.
MARKS: Final = {"mark_waits", "mark_awaited", "untie", "tie_again"}


@dataclass(frozen=True)
class Written:
    """What a statement's text says: the states it takes runs from and the state it puts them into."""

    taken_from: set[str] | str
    put_into: str
    counted: tuple[str, str]


def statements() -> dict[str, str]:
    """Every named block of every SQL file, comments taken out."""
    folder = files("strait_core.store").joinpath("sql")
    nouns = sorted(path.name.removesuffix(".sql") for path in folder.iterdir() if path.name.endswith(".sql"))
    return {
        name: re.sub(r"--[^\n]*", "", body.decode()) for noun in nouns for name, body in load(noun).items()
    }  # fmt: skip


def moves_runs(text: str) -> bool:
    return bool(re.search(r"(UPDATE|DELETE FROM|INSERT INTO) strait\.(runs|run_history)\b", text))


def read(text: str) -> Written:
    """Read guard, target and delta out of a moving statement; fails loudly when the text has another shape."""
    change = re.search(
        r"(UPDATE strait\.runs|DELETE FROM strait\.(?:runs|run_history)) (?P<body>.*?)RETURNING", text, re.DOTALL
    )
    assert change is not None, "no change of a run found"
    where = change["body"].rpartition("WHERE")[2] if "UPDATE" in change[1] else change["body"].partition("WHERE")[2]
    locked = re.search(
        r"FROM batch b JOIN strait\.runs r ON r\.id = b\.id\s+WHERE (.*?)FOR UPDATE OF r", text, re.DOTALL
    )
    if locked is not None:
        where = locked[1]
    delta = re.search(r"jsonb_build_array\(project_id, job_id, ([^,]+), ([^,]+), n\)", text)
    assert delta is not None, "no delta found"
    return Written(guard(where), target(text, change[0]), (counted(text, delta[1]), counted(text, delta[2])))


def counted(text: str, word: str) -> str:
    """The state under which a move is counted; the counts keep queued runs that await a retry apart."""
    cases = re.search(r"CASE WHEN [^']*? THEN '(\w+)' ELSE '(\w+)' END AS counted_as", text)
    if word.strip() != "counted_as" or cases is None:
        return literal(word)
    assert "retrying" in cases.groups()
    (state,) = set(cases.groups()) - {"retrying"}
    return state


def guard(where: str) -> set[str] | str:
    found = re.findall(r"\bstatus (= ANY\(%\(from\)s\)|= CASE WHEN g\.moves THEN '\w+'|= '\w+'|IN \([^)]*\))", where)
    assert len(found) == 1, f"one guard expected, found {found}"
    return GIVEN if "ANY" in found[0] else set(re.findall(r"'(\w+)'", found[0]))


def target(text: str, change: str) -> str:
    if "UPDATE" in change:
        assigned = re.search(r"SET status = '(\w+)'", change)
        assert assigned is not None
        return assigned[1]
    stored = re.search(
        r"INSERT INTO strait\.(?:runs|run_history) \(.*?\)\s+SELECT id, job_id, project_id, ('?[%()\w]+'?),",
        text,
        re.DOTALL,
    )
    assert stored is not None, "the row that is stored elsewhere was not found"
    return literal(stored[1])


def literal(text: str) -> str:
    quoted = re.fullmatch(r"'(\w+)'", text.strip())
    return quoted[1] if quoted else GIVEN


def expected(events: set[Event]) -> tuple[set[str], set[str]]:
    at = {status.value for (status, event) in TRANSITIONS if event in events}
    to = {status.value for (_, event), status in TRANSITIONS.items() if event in events}
    return at, to


def test_every_statement_that_moves_runs_is_known():
    """A new statement that touches a run's state has to be compared with the table, here."""
    assert {name for name, text in statements().items() if moves_runs(text)} == {
        *MOVERS, *REWRITES, *NOTES, *MARKS, *CREATES, RETIMES, GIVES_SLOTS,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(REWRITES))
def test_a_rewrite_moves_nothing(name: str):
    """Only what still waits for its time is rewritten; neither its state nor its seq is touched."""
    text = statements()[name]
    changed, _, where = text.partition("WHERE")
    assert re.findall(r"status = '(\w+)'", where) == [Status.DELAYED.value]
    assert not re.search(r"\b(status|seq|attempt|lease)\b", changed)


def test_a_new_time_leaves_the_state_alone():
    """It takes runs that wait for a time, counts one step, and writes no state."""
    text = statements()[RETIMES]
    change = text[text.index("UPDATE strait.runs") : text.index("RETURNING")]
    assigned, _, where = change.rpartition("WHERE r.id")
    assert set(re.findall(r"'(\w+)'", where)) == {Status.DELAYED.value, Status.QUEUED.value}
    assert "seq = r.seq + 1" in assigned
    assert not re.search(r"\b(status|attempt|lease) = ", assigned)


@pytest.mark.parametrize("name", sorted(set(MOVERS) - {"end_active", "replay", "finish_if_held"}))
def test_a_statement_guards_exactly_the_moves_of_its_event(name: str):
    """The states it takes from, the state it puts into and the delta it writes are those of the table."""
    written = read(statements()[name])
    at, to = expected(MOVERS[name])
    if name == "release_if_held":
        # Runs that have started are given back by another statement, which closes the attempt.
        at -= set(read(statements()[ALSO_RELEASES]).taken_from)
    (one_at,), (one_to,) = at, to
    assert written == Written(at, one_to, counted=(one_at, one_to))


def test_the_statement_of_retries_may_release_too():
    """executing → queued is a retry or the release of a started attempt: the table knows both."""
    assert TRANSITIONS[Status.EXECUTING, Event.RELEASE] is TRANSITIONS[Status.EXECUTING, Event.RETRY] is Status.QUEUED


def test_a_finish_takes_from_executing_only():
    """The ending is the caller's; every one that it may name is a move out of executing, and an ending."""
    assert read(statements()["finish_if_held"]) == Written({"executing"}, GIVEN, counted=("executing", GIVEN))
    for event in FINISHES:
        assert TRANSITIONS[Status.EXECUTING, event] in TERMINAL


def test_an_end_from_outside_and_a_replay_take_what_the_table_allows():
    """Both get their states from `run.py` as a parameter; the delta names what was found."""
    assert read(statements()["end_active"]) == Written(GIVEN, GIVEN, counted=(GIVEN, GIVEN))
    assert read(statements()["replay"]) == Written(GIVEN, "queued", counted=(GIVEN, "queued"))
    assert {status.value for status in REPLAYABLE} == expected({Event.REPLAY})[0]


@pytest.mark.parametrize("name", [name for name in MOVERS if name.endswith("_if_held")])
def test_a_held_statement_compares_all_four(name: str):
    """id, status, attempt and lease: what the name promises."""
    text = re.sub(r"\s+", " ", statements()[name])
    assert re.search(r"r\.status = '\w+' AND r\.attempt = b\.attempt AND r\.lease = b\.lease", text)
    assert text.count("r.id = b.id") == 1


def test_a_start_with_its_claim_compares_whose_it_is():
    """What the session remembers is no fence by itself: the worker and the leases are those of the claim."""
    text = re.sub(r"\s+", " ", statements()["start_claimed"])
    assert "r.status = 'dequeued' AND r.worker_id = %(worker)s AND r.lease BETWEEN (SELECT leases[1]" in text
    assert "FROM mine) AND (SELECT leases[2] FROM mine)" in text


def test_only_what_has_not_started_expires():
    """The sweep looks for exactly the states that the table lets expire."""
    listed = re.search(r"status IN \(([^)]*)\)", statements()["expired_ids"])
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == expected({Event.EXPIRE})[0]


@pytest.mark.parametrize("name", ["held_by_worker", "still_held", "live_attempt"])
def test_a_worker_holds_what_is_claimed_or_executing(name: str):
    """Exactly the states between a claim and the end of its attempt."""
    listed = re.search(r"status IN \(([^)]*)\)", statements()[name])
    assert listed is not None
    between = {TRANSITIONS[Status.QUEUED, Event.CLAIM].value, TRANSITIONS[Status.DEQUEUED, Event.START].value}
    assert set(re.findall(r"'(\w+)'", listed[1])) == between


def migrations() -> str:
    folder = files("strait_core.store").joinpath("migrations")
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.iterdir(), key=lambda p: p.name))


@pytest.mark.parametrize(("table", "states"), [("runs", ACTIVE), ("run_history", TERMINAL)])
def test_a_check_constraint_allows_exactly_its_half_of_the_states(table: str, states: frozenset[Status]):
    """`runs` holds what is active, `run_history` what has ended."""
    checked = re.search(
        rf"CREATE TABLE strait\.{table} \(.*?status\s+text NOT NULL CHECK \(status IN \(([^)]*)\)\)",
        migrations(),
        re.DOTALL,
    )
    assert checked is not None
    assert set(re.findall(r"'(\w+)'", checked[1])) == {status.value for status in states}


def test_no_statement_reads_a_clock():
    """Time comes from the program: neither a statement nor a default asks the server for it."""
    clock = re.compile(
        r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\(|\bcurrent_(date|time|timestamp)\b|\blocal(time|timestamp)\b",
        re.IGNORECASE,
    )
    texts = {**statements(), "migrations": re.sub(r"--[^\n]*", "", migrations())}
    assert {name for name, text in texts.items() if clock.search(text)} == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AND u.status = 'queued'", "AND u.status IN ('queued', 'delayed')"),
        ("SET status = 'dequeued'", "SET status = 'executing'"),
        ("job_id, 'queued', 'dequeued', n", "job_id, 'queued', 'executing', n"),
    ],
)
def test_a_changed_guard_would_be_noticed(old: str, new: str):
    """The reader of the SQL sees a wider guard, another target and a wrong delta."""
    text = statements()["claim"]
    assert old in text
    at, to = expected({Event.CLAIM})
    right = Written(at, to.pop(), counted=("queued", "dequeued"))
    assert read(text) == right
    assert read(text.replace(old, new)) != right


@pytest.mark.parametrize("name", sorted(MARKS))
def test_a_mark_moves_nothing(name: str):
    """Nothing of the run is touched but the marks."""
    changed = statements()[name].partition("WHERE")[0]
    assert set(re.findall(r"(\w+) = ", changed)) <= {"waits", "awaited"}
