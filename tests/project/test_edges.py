"""Every move of the table in `run.py` is walked by a test that this page names: a new move needs one."""

from __future__ import annotations

from typing import Final

import pytest

from strait_core.run import TRANSITIONS, Event, Status
from tests.project.tree import ROOT, functions

_WAY: Final = "tests/cli/test_commands.py::test_wait_shows_the_whole_path_and_the_result"
_REPLAY: Final = "tests/api/test_bulk_runs.py::test_a_replay_leads_back_from_every_failure"
_WAITING: Final = "tests/faults/test_waiting.py::test_every_way_out_of_waiting"
_ENDINGS: Final = "tests/worker/test_dispatch.py::test_attempts_run_out"
_S, _E = Status, Event

# Real parts in each of them: a whole daemon, its worker, or the service that makes the move.
WALKED_BY: Final[dict[tuple[Status, Event], str]] = {
    (_S.DELAYED, _E.PROMOTE): "tests/worker/test_dispatch.py::test_a_delayed_run_starts_on_time",
    (_S.DELAYED, _E.CANCEL): "tests/cli/test_many_runs.py::test_many_are_canceled_by_filter",
    (_S.DELAYED, _E.EXPIRE): "tests/services/test_reaper.py::test_expiry",
    (_S.QUEUED, _E.CLAIM): _WAY,
    (_S.QUEUED, _E.CANCEL): "tests/api/test_runs.py::test_cancel_ends_a_run_wherever_it_is",
    (_S.QUEUED, _E.EXPIRE): "tests/services/test_reaper.py::test_expiry",
    (_S.DEQUEUED, _E.START): _WAY,
    (_S.DEQUEUED, _E.RELEASE): "tests/services/test_reaper.py::test_a_dead_worker_gives_back_what_it_held",
    (_S.DEQUEUED, _E.CANCEL): "tests/api/test_runs.py::test_cancel_ends_a_run_wherever_it_is",
    (_S.DEQUEUED, _E.SYSTEM_FAIL): "tests/worker/test_refusals.py::test_a_run_whose_version_is_missing",
    (_S.EXECUTING, _E.COMPLETE): _WAY,
    (_S.EXECUTING, _E.FAIL): _ENDINGS,
    (_S.EXECUTING, _E.TIME_OUT): "tests/worker/test_completions.py::test_a_failure_starts_its_own_job",
    (_S.EXECUTING, _E.CRASH): "tests/faults/test_killed_daemon.py::test_twice_with_200_runs_executing",
    (_S.EXECUTING, _E.SYSTEM_FAIL): "tests/worker/test_refusals.py::test_a_result_that_the_database_refuses",
    (_S.EXECUTING, _E.CANCEL): "tests/worker/test_letting_go.py::test_cancelling_closes_the_connection_at_once",
    (_S.EXECUTING, _E.WAIT): _WAITING,
    (_S.EXECUTING, _E.RETRY): _ENDINGS,
    (_S.EXECUTING, _E.RELEASE): "tests/e2e/test_serve.py::test_a_released_attempt_is_not_spent",
    (_S.EXECUTING, _E.DEAD_LETTER): "tests/cli/test_many_runs.py::test_dead_letters_are_listed_and_replayed",
    (_S.WAITING, _E.RESUME): _WAITING,
    (_S.WAITING, _E.COMPLETE): _WAITING,
    (_S.WAITING, _E.FAIL): _WAITING,
    (_S.WAITING, _E.CANCEL): _WAITING,
    (_S.WAITING, _E.TIME_OUT): _WAITING,
    **{(status, event): _REPLAY for status, event in TRANSITIONS if event is _E.REPLAY},
}


def test_every_move_is_walked():
    """The table and this page name the same moves."""
    assert set(WALKED_BY) == set(TRANSITIONS)


@pytest.mark.parametrize("named", sorted(set(WALKED_BY.values())))
def test_what_walks_it_exists(named: str):
    """The file has a test of that name."""
    path, _, name = named.partition("::")
    assert name in {function.name for function in functions((ROOT / path).relative_to(ROOT))}
