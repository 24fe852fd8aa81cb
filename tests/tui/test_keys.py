"""Every key that a view declares is pressed, and does something: a walk through each view, and that none is left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest
from textual.app import App
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from strait_cli.tui.dashboard import TABS, Dashboard
from strait_cli.tui.detail import Detail
from strait_cli.tui.dialogs import Keys, Question
from strait_cli.tui.flowing import FlowScreen
from strait_cli.tui.listing import Listing
from strait_cli.tui.live import LiveApp
from strait_cli.tui.watching import RunScreen
from tests.tui import scenes, test_flowing, test_watching
from tests.tui.canned import Canned, canned
from tests.tui.hand import Hand, keys_of, views_with_keys
from tests.tui.stage import focus_of, text_of, top, until
from tests.tui.test_dashboard import shown
from tests.tui.test_listing import Stage, row, table

RUN: Final = f"/v1/runs/{scenes.RUN_ID}"
JOB: Final = "/v1/jobs/job_01kb0000{:02}a1b2c3d4e5f6g7"


def focus_id(app: App[Any]) -> str | None:
    """The name of what has the focus."""
    found = focus_of(app)
    return found.id if found else None


def left_as(app: LiveApp, why: str) -> bool:
    """Whether the view was left, and so."""
    return app.return_value is not None and app.return_value.why == why


def posted(server: Canned) -> list[str]:
    """The paths to which something was posted."""
    return [path for path, _ in server.posted]


def stands_at(app: Stage, row_id: str) -> bool:
    """Whether the cursor stands on that row, in sight."""
    return app.listing.cursor == row_id and row_id in text_of(app)


async def walk_listing(hand: Hand) -> None:
    """Each way to move, by arrow and by letter; select, sort, open."""
    async with table(*map(row, range(100))) as (app, pilot):
        listing = app.listing
        screenful = listing.size.height - 2
        moves = {"down": 1, "j": 2, "up": 1, "k": 0, "pagedown": screenful, "pageup": 0}
        for key, at in {**moves, "end": 99, "home": 0, "G": 99, "g": 0}.items():
            await hand.press(pilot, key, partial(stands_at, app, f"run_{at:05}"))
        await hand.press(pilot, "space", lambda: listing.selected == {"run_00000"})
        await hand.press(pilot, "enter", lambda: app.opened == ["run_00001"])
        await hand.press(pilot, "a", lambda: len(listing.selected) == 100)
        await hand.press(pilot, "s", lambda: listing.sorted_by == 0 and "▲" in text_of(app))


async def walk_run(hand: Hand) -> None:
    """While a run executes; after it has failed, when it can be replayed; and each way to leave."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with test_watching.watching(server) as (app, screen, pilot):
            await until(pilot, lambda: "checksum" in text_of(app))
            await hand.press(pilot, "p", lambda: "customer" in text_of(app))
            await hand.press(pilot, "o", lambda: "not yet" in text_of(app))
            await hand.press(pilot, "l", lambda: "checksum" in text_of(app))
            await hand.press(pilot, "tab", lambda: focus_id(app) not in {"logs", None})
            await hand.press(pilot, "y", lambda: app.clipboard == scenes.RUN_ID)
            await hand.press(pilot, "question_mark", lambda: "again: fill the screen" in text_of(app))
            await pilot.press("escape")
            await hand.press(pilot, "c", lambda: isinstance(top(app), Question) and "cut off" in text_of(app))
            await pilot.press("escape")
            await hand.press(pilot, "q", lambda: left_as(app, "left"))
        async with test_watching.watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.status == "executing")
            await hand.press(pilot, "ctrl+q", lambda: left_as(app, "left"))
        server.answers[RUN] = scenes.run(status="dead_letter", seq=7, finished_at=scenes.at(9.1))
        server.push(f"{RUN}/stream", scenes.status(7, "dead_letter", 2, 9.1))
        server.answers[f"POST {RUN}/replay"] = server.answers[RUN]
        async with test_watching.watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.is_over)
            await hand.press(pilot, "r", lambda: posted(server) == [f"{RUN}/replay"])
            await hand.press(pilot, "ctrl+c", lambda: left_as(app, "over"))


async def walk_flow(hand: Hand) -> None:
    """While a workflow run goes on; after it has failed, when it can be retried; and each way to leave."""
    with canned(scenes.pipeline()) as server:
        server.answers[f"POST {scenes.FLOW}/pause"] = scenes.flow(status="paused")
        server.answers[f"POST {scenes.FLOW}/resume"] = scenes.flow()
        async with test_flowing.watching(server) as (app, screen, pilot):
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(top(app), RunScreen))
            await pilot.press("q")
            await until(pilot, lambda: top(app) is screen)
            await hand.press(pilot, "tab", lambda: focus_id(app) == "graph")
            await hand.press(pilot, "p", lambda: screen.flow.status == "paused")
            await hand.press(pilot, "p", lambda: screen.flow.status == "running")
            assert posted(server) == [f"{scenes.FLOW}/pause", f"{scenes.FLOW}/resume"]
            await hand.press(pilot, "y", lambda: app.clipboard == scenes.FLOW_ID)
            await hand.press(pilot, "question_mark", lambda: "Heavy boxes" in text_of(app))
            assert isinstance(top(app), Keys)
            await pilot.press("escape")
            await hand.press(
                pilot, "c", lambda: isinstance(top(app), Question) and "data-pipeline, running" in text_of(app)
            )
            await pilot.press("n")
            await hand.press(pilot, "q", lambda: left_as(app, "left"))
            assert len(server.posted) == 2
        async with test_flowing.watching(server) as (app, _, pilot):
            await hand.press(pilot, "ctrl+q", lambda: left_as(app, "left"))
        server.answers[scenes.FLOW] = scenes.flow(status="failed", finished_at=scenes.at(8))
        server.push(f"{scenes.FLOW}/stream", scenes.flow_status("failed", 8))
        server.answers[f"POST {scenes.FLOW}/retry"] = server.answers[scenes.FLOW]
        async with test_flowing.watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.flow.status == "failed")
            await hand.press(pilot, "r", lambda: f"{scenes.FLOW}/retry" in posted(server))
            await hand.press(pilot, "ctrl+c", lambda: left_as(app, "over"))


async def walk_dashboard(hand: Hand) -> None:
    """Every tab with its deeds, the runs' own keys; and both ways to leave."""
    with canned(scenes.everything()) as server:
        async with shown(server) as (app, pilot):
            for name in (*TABS[2:], *TABS[:2]):
                await hand.press(pilot, str(TABS.index(name) + 1), partial(is_there, app, name))
                for deed in DEEDS.get(name, ()):
                    await walk_deed(hand, app, pilot, server, *deed)
            listing = app.panes["runs"].listing
            await hand.press(pilot, "y", lambda: app.clipboard == listing.cursor)
            await hand.press(pilot, "slash", lambda: isinstance(focus_of(app), Input))
            await pilot.press("z", "enter")
            assert len(listing.shown) < 40
            await hand.press(pilot, "escape", lambda: len(listing.shown) == 40)
            await hand.press(pilot, "tab", lambda: focus_of(app) is not listing)
            await hand.press(pilot, "question_mark", lambda: isinstance(top(app), Keys))
            await pilot.press("escape")
            await hand.press(pilot, "q", lambda: not app.is_running)
        async with shown(server) as (app, pilot):
            await hand.press(pilot, "ctrl+c", lambda: not app.is_running)


def is_there(app: Dashboard, tab: str) -> bool:
    """Whether a tab is in sight with its rows, which have the keys."""
    if app.tab != tab or tab == "overview":
        return app.tab == tab and "Throughput" in text_of(app)
    listing = app.panes[tab].listing
    return bool(listing.rows) and focus_of(app) is listing


# In each tab: the key, what it asks about, the row under the cursor, where the request goes.
DEEDS: Final = {
    "runs": (("c", "Cancel", 1, "/v1/runs/bulk-cancel"), ("r", "Replay", 5, "/v1/runs/bulk-replay")),
    "jobs": (
        ("t", "Trigger", 0, f"{JOB.format(0)}/trigger"),
        ("p", "Pause", 1, f"{JOB.format(1)}/pause"),
        ("u", "Resume", 3, f"{JOB.format(3)}/resume"),
    ),
    "schedules": (("p", "Pause", 0, "/v1/schedules/sch_01kb000000a1b2c3d4e5f6g7h8/pause"),),
    "dlq": (("r", "Replay", 0, "/v1/runs/bulk-replay"),),
}


async def walk_deed(
    hand: Hand, app: Dashboard, pilot: Pilot[None], server: Canned, key: str, name: str, at: int, path: str
) -> None:
    """Asked about by its name, then done to the row under the cursor and to no other."""
    listing = app.panes[app.tab].listing
    listing.go_to(at)
    await hand.press(pilot, key, lambda: f"{name} this?" in text_of(app))
    server.posted.clear()
    await pilot.press("y")
    await until(pilot, lambda: bool(server.posted) and not app.is_busy("deed"))
    assert server.posted == [(path, {"ids": [listing.cursor]} if "bulk" in path else {})]


async def walk_question(hand: Hand) -> None:
    """Arrows go from button to button; y says yes, the other keys say no."""
    async with table() as (app, pilot):
        said: list[bool | None] = []
        app.push_screen(Question("Cancel it?", "Cancel it"))
        await until(pilot, lambda: focus_id(app) == "no")
        await hand.press(pilot, "left", lambda: focus_id(app) == "yes")
        await hand.press(pilot, "right", lambda: focus_id(app) == "no")
        await hand.press(pilot, "tab", lambda: focus_id(app) == "yes")
        app.pop_screen()
        for key in ("y", "n", "escape", "q"):
            said.clear()
            app.push_screen(Question("Cancel it?", "Cancel it"), said.append)
            await until(pilot, lambda: isinstance(top(app), Question))
            await hand.press(pilot, key, partial(said.__eq__, [key == "y"]))
            assert not isinstance(top(app), Question)


async def close(hand: Hand, screen: Callable[[], Screen[Any]], *keys: str) -> None:
    """Open it anew for each of these keys, which put it away."""
    async with table() as (app, pilot):
        for key in keys:
            app.push_screen(screen())
            await until(pilot, lambda: len(app.screen_stack) == 2)
            await hand.press(pilot, key, lambda: len(app.screen_stack) == 1)


async def walk_keys(hand: Hand) -> None:
    """Put away by any key that somebody would try."""
    await close(hand, lambda: Keys([("q", "leave")], "No more."), "escape", "q", "question_mark", "enter", "space")


async def walk_detail(hand: Hand) -> None:
    """Put away, whether it shows a tree or lines."""
    await close(hand, lambda: Detail("a job", value={"slug": "sync"}), "escape")
    await close(hand, lambda: Detail("a graph", lines="┏━┓"), "q")


WALKS: Final[dict[type[DOMNode], Callable[[Hand], Awaitable[None]]]] = {
    Listing: walk_listing,
    RunScreen: walk_run,
    FlowScreen: walk_flow,
    Dashboard: walk_dashboard,
    Question: walk_question,
    Keys: walk_keys,
    Detail: walk_detail,
}


@pytest.mark.parametrize("view", views_with_keys(), ids=lambda view: view.__name__)
async def test_every_key_of_every_view_does_something(view: type[DOMNode]):
    """All keys that the view's class declares were pressed in its walk and had their effect; a view has a walk."""
    hand = Hand()
    await WALKS[view](hand)
    assert keys_of(view) - hand.pressed == set()


def test_views_with_keys_are_found():
    """What has a walk is what was found in the modules: neither side has lost a view."""
    assert set(views_with_keys()) == set(WALKS)
