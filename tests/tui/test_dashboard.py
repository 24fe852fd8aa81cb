"""The dashboard: its pictures in the docs, what is opened, filters, order, deeds to many; its keys are in test_keys.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from strait_cli.tui import dashboard
from strait_cli.tui.dashboard import TABS, Dashboard, Link
from strait_cli.tui.detail import Detail
from strait_cli.tui.dialogs import Question
from strait_cli.tui.watching import RunScreen
from tests.tui import scenes
from tests.tui.canned import Canned, canned, event
from tests.tui.stage import SIZES, check_picture, focus_of, session_at, standing, text_of, top, until


@asynccontextmanager
async def shown(
    server: Canned, size: tuple[int, int] = (80, 24), tab: str | None = None
) -> AsyncIterator[tuple[Dashboard, Pilot[None]]]:
    """The dashboard, at a tab whose rows have come."""
    session = session_at(server.url)
    app = Dashboard(session, clock=standing(12), address="http://127.0.0.1:8080")
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.link is Link.LIVE and not app.is_busy("stats") and bool(app.overview.newest))
        if tab is not None:
            await go_to(app, pilot, tab)
        yield app, pilot
    session.close()


async def go_to(app: Dashboard, pilot: Pilot[None], tab: str) -> None:
    """Open a tab by its number, and wait for its rows."""
    await pilot.press(str(TABS.index(tab) + 1))
    await until(pilot, lambda: bool(app.panes[tab].listing.rows) and app.focused is app.panes[tab].listing)


@pytest.mark.parametrize("size", SIZES)
async def test_pictures_of_the_dashboard(size: str, monkeypatch: pytest.MonkeyPatch):
    """The overview and the runs, small and large: as they are in the docs. No second passes meanwhile."""
    monkeypatch.setattr(dashboard, "LOOK_SECS", 600.0)
    with canned(scenes.everything()) as server:
        async with shown(server, SIZES[size]) as (app, pilot):
            await until(pilot, lambda: bool(app.overview.processes) and "node-0" in text_of(app), lambda: text_of(app))
            app.overview.forget_the_past()
            for number in range(120):
                app.overview.take_stats(wave(server, number))
            await pilot.pause()
            await check_picture(pilot, f"dashboard-{size}", "strait dashboard")
            await pilot.press("2")
            await until(pilot, lambda: bool(app.panes["runs"].listing.rows))
            await pilot.press("down", "space", "space")
            await check_picture(pilot, f"dashboard-runs-{size}", "strait dashboard")


def wave(server: Canned, number: int) -> dict[str, object]:
    """The figures of a second: more waits in some, more is done in others."""
    stats = server.answers["/v1/stats"]
    up = (number * 37 % 61) + abs(60 - number) * 9
    return {
        **stats,
        "depth": {**stats["depth"], "queued": 500 + up},
        "rate_1m": {"created": 118.4, "finished": 20.0 + (number * 53 % 29) + number},
    }


async def test_what_is_opened_from_a_tab():
    """Runs, dead ones too, open live, an event with its fields (others: test_pictures.py); q comes back."""
    with canned(scenes.everything()) as server:
        async with shown(server) as (app, pilot):
            for tab, word in (("runs", "sync-invoices"), ("dlq", "index-search"), ("events", "delivered")):
                await go_to(app, pilot, tab)
                await pilot.press("enter")
                await until(pilot, lambda: isinstance(top(app), Detail | RunScreen))
                assert isinstance(top(app), Detail) == (tab == "events")
                assert word in text_of(app)
                await pilot.press("q")
                await until(pilot, lambda: len(app.screen_stack) == 1)
                assert app.is_running


async def test_a_filter_is_typed_kept_and_cleared():
    """/ takes words at once, enter keeps them, escape clears; letters in it are no keys."""
    with canned(scenes.everything()) as server:
        async with shown(server, tab="runs") as (app, pilot):
            listing = app.panes["runs"].listing
            await pilot.press("slash", *"charge")
            assert isinstance(focus_of(app), Input)
            assert {listing.rows[key]["job_slug"] for key in listing.shown} == {"charge-cards"}
            await pilot.press("enter")
            assert focus_of(app) is listing
            await pilot.press("escape")
            assert len(listing.shown) == 40


async def test_many_runs_are_canceled_after_a_question():
    """Those of the selection that can be; n does nothing; the ids travel in one request."""
    with canned(scenes.everything()) as server:
        server.answers["POST /v1/runs/bulk-cancel"] = {"matched": 2, "done": 2, "skipped": [], "next_cursor": None}
        async with shown(server, tab="runs") as (app, pilot):
            await pilot.press("space", "space", "space", "c")
            assert isinstance(top(app), Question)
            assert "Cancel 2 of them" in text_of(app)
            await pilot.press("n")
            assert server.posted == []
            await pilot.press("c", "y")
            await until(pilot, lambda: bool(server.posted))
            path, body = server.posted[0]
            assert (path, len(body["ids"])) == ("/v1/runs/bulk-cancel", 2)
            await until(pilot, lambda: not app.panes["runs"].listing.selected)


async def test_the_palette_and_clicks_lead_to_the_tabs():
    """ctrl+p lists the commands, words narrow them, enter does one; a tab can be clicked."""
    with canned(scenes.everything()) as server:
        async with shown(server) as (app, pilot):
            await pilot.press("ctrl+p", *"dead")
            await until(pilot, lambda: "Dead letter" in text_of(app))
            await pilot.press("down", "enter")
            await until(pilot, lambda: app.tab == "dlq")
            await pilot.click("#--content-tab-events")
            await until(pilot, lambda: app.tab == "events")


async def test_rows_are_sorted_by_the_next_column():
    """s goes from column to column; after the last the rows stand as the server has them."""
    with canned(scenes.everything()) as server:
        async with shown(server, tab="jobs") as (app, pilot):
            listing = app.panes["jobs"].listing
            as_served = [one["slug"] for one in server.answers["/v1/jobs"]["data"]]
            await pilot.press("s")
            assert "SLUG▲" in text_of(app)
            assert [listing.rows[key]["slug"] for key in listing.shown] == sorted(as_served)
            await pilot.press(*"s" * len(listing.columns))
            assert listing.sorted_by is None
            assert "SLUG▲" not in text_of(app)
            assert [listing.rows[key]["slug"] for key in listing.shown] == as_served


async def test_a_server_that_goes_away_is_told_and_comes_back():
    """The line above says so; nothing closes."""
    with canned(scenes.everything()) as server:
        async with shown(server) as (app, pilot):
            stats = server.answers.pop("/v1/stats")
            await until(pilot, lambda: "there is no such thing" in text_of(app))
            server.answers["/v1/stats"] = stats
            await until(pilot, lambda: "there is no such thing" not in text_of(app))


async def test_how_what_is_shown_comes_is_told():
    """By the feed; when it is lost and does not come back, by asking, which undoes nothing; and by the feed again."""
    with canned(scenes.everything()) as server:
        async with shown(server, tab="runs") as (app, pilot):
            assert "● live" in text_of(app)
            first, second = (f"run_01kb0001{number:02}f0r8k3s9v2m4x6" for number in range(2))
            server.push("/v1/stream", feed_move(first, 1, "queued", 9.0), feed_move(first, 2, "dequeued", 9.1))
            listing = app.panes["runs"].listing
            await until(pilot, lambda: first in listing.rows and listing.rows[first]["status"] == "dequeued")
            old = next(key for key, row in listing.rows.items() if row["status"] == "executing")
            server.push("/v1/stream", feed_move(old, 7, "completed", 9.2))
            await until(pilot, lambda: listing.rows[old]["status"] == "completed")
            kept = server.answers.pop("/v1/stream")
            server.answers["/v1/stream"] = {"busy": True}
            server.cut()
            await until(pilot, lambda: "◔ polling" in text_of(app) and not app.is_busy("runs"))
            assert (listing.rows[first]["status"], listing.rows[old]["status"]) == ("dequeued", "completed")
            server.answers["/v1/stream"] = [*kept, feed_move(second, 1, "queued", 9.2)]
            await until(pilot, lambda: "● live" in text_of(app) and second in listing.rows)


def feed_move(run_id: str, seq: int, state: str, seconds: float, attempt: int = 0, **more: object) -> str:
    """A move of a run as the feed tells it."""
    said = {"run_id": run_id, "status": state, "attempt": attempt, "at": scenes.at(seconds), "seq": seq}
    whose = {"job_id": scenes.JOB_ID, "job_slug": "sync-invoices", "project_id": "billing"}
    return event("status", f"1.{seq}.0", {**said, **whose, **more})
