"""The dashboard's runs, when more are under way than a page holds."""

from __future__ import annotations

from strait_cli.tui.dashboard import Dashboard
from strait_core.run import TERMINAL
from tests.tui import scenes
from tests.tui.canned import canned
from tests.tui.stage import session_at, standing, until


async def test_old_rows_do_not_execute_for_ever():
    """Rows behind a full page of active runs are asked for in turn: those that go on stay, those that ended end."""
    answers = scenes.everything()
    # Nobody tells of them.
    del answers["/v1/stream"]
    young = [scenes.run(id=f"run_01kb0001{number:03}00000000000000") for number in range(200)]
    old = [scenes.run(id=f"run_01kb0000{number:03}00000000000000") for number in range(50)]
    answers["/v1/runs"] = scenes.page(young, "more")
    for number, row in enumerate(old):
        # The first ones go on, more of them than are asked for at once.
        answers[f"/v1/runs/{row['id']}"] = {**row, "status": "executing" if number < 30 else "completed"}
    with canned(answers) as server:
        session = session_at(server.url)
        app = Dashboard(session, clock=standing(12))
        async with app.run_test() as pilot:
            await pilot.press("2")
            listing = app.panes["runs"].listing
            await until(pilot, lambda: len(listing.rows) == 200)
            listing.put(old)
            await until(pilot, lambda: sum(row["status"] in TERMINAL for row in listing.rows.values()) == 20)
        session.close()
