"""The view of one run: its pictures, its keys, its ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from strait_cli.tui import course
from strait_cli.tui import watching as watching_view
from strait_cli.tui.dialogs import Keys, Question
from strait_cli.tui.live import Left, LiveApp
from strait_cli.tui.watching import RunScreen
from tests.tui import scenes
from tests.tui.canned import Canned, canned
from tests.tui.stage import SIZES, check_picture, session_at, standing, text_of, top, until

PATH = f"/v1/runs/{scenes.RUN_ID}"


@asynccontextmanager
async def watching(
    server: Canned, size: tuple[int, int] = (80, 24), **more: Any
) -> AsyncIterator[tuple[LiveApp, RunScreen, Pilot[Left]]]:
    """The view of the scene's run."""
    session = session_at(server.url)
    screen = RunScreen(session, server.answers[PATH], clock=standing(), **{"linger": None, **more})
    app = LiveApp(screen)
    async with app.run_test(size=size) as pilot:
        yield app, screen, pilot
        screen.stop.set()
    session.close()


def finish(server: Canned) -> None:
    """Let the run complete."""
    server.answers[PATH] = scenes.ended()
    server.push(f"{PATH}/stream", *scenes.END)


@pytest.mark.parametrize("size", SIZES)
async def test_pictures_of_a_run(size: str):
    """While it executes, and after its end, small and large: as they are in the docs."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server, SIZES[size]) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.lines == 4 and screen.course.progress is not None)
            await until(pilot, lambda: "checksum" in text_of(app), lambda: text_of(app))
            await check_picture(pilot, f"watch-live-{size}", "strait runs watch")
            finish(server)
            await until(pilot, lambda: screen.course.run["result"] is not None)
            await pilot.press("o")
            await until(pilot, lambda: "invoices" in text_of(app), lambda: text_of(app))
            await check_picture(pilot, f"watch-over-{size}", "strait runs watch")


async def test_what_holds_a_run_is_told():
    """The reasons of `explain` while it waits, and no more once it goes on."""
    held: dict[str, Any] = {"code": "paused", "text": "the job is paused", "until": None, "run_ids": [], "count": None}
    answers = scenes.life(status="queued", seq=1, attempt=0, started_at=None)
    answers[f"{PATH}/explain"] |= {"status": "queued", "reasons": [held]}
    with canned(answers) as server:
        async with watching(server) as (app, _, pilot):
            await until(pilot, lambda: "the job is paused" in text_of(app))
            server.push(f"{PATH}/stream", scenes.status(2, "dequeued", 0, 1), scenes.status(3, "executing", 1, 1.1))
            await until(pilot, lambda: "executing" in text_of(app) and "the job is paused" not in text_of(app))


async def test_a_cancel_asks_first():
    """n and escape do nothing; y cancels."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.status == "executing")
            for key in ("n", "escape"):
                await pilot.press("c")
                assert isinstance(top(app), Question)
                assert "cut off" in text_of(app)
                await pilot.press(key)
                assert top(app) is screen
            assert server.posted == []
            await pilot.press("c", "y")
            await until(pilot, lambda: [path for path, _ in server.posted] == [f"{PATH}/cancel"])


async def test_a_run_that_did_not_succeed_is_replayed():
    """r does nothing before; afterwards the run is followed through its second life."""
    dead = [scenes.status(7, "dead_letter", 2, 9.1)]
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server) as (_, screen, pilot):
            await until(pilot, lambda: screen.course.status == "executing")
            await pilot.press("r")
            server.answers[PATH] = scenes.run(status="dead_letter", seq=7, finished_at=scenes.at(9.1))
            server.answers[f"POST {PATH}/replay"] = scenes.run(status="queued", seq=8, attempt=2)
            server.push(f"{PATH}/stream", *dead)
            await until(pilot, lambda: screen.course.is_over and screen.course.run["status"] == "dead_letter")
            assert server.posted == []
            server.answers[f"{PATH}/stream"] = [scenes.status(8, "queued", 2, 9.5)]
            await pilot.press("r")
            await until(pilot, lambda: screen.course.status == "queued")
            assert [path for path, _ in server.posted] == [f"{PATH}/replay"]


async def test_a_second_life_is_watched_to_its_end():
    """The view of a replayed run goes past the old end; a replay that comes before the end was read is followed, too."""
    first = [
        scenes.status(2, "dead_letter", 1, 1),
        scenes.status(3, "queued", 1, 2),
        scenes.status(4, "executing", 2, 3),
    ]
    with canned(scenes.life(*first, seq=4)) as server:
        async with watching(server, linger=0.2) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.status == "executing")
            server.answers[PATH] = scenes.run(status="queued", seq=6)
            # The end of this stream is not that of the run, which is read as it is then.
            server.push(f"{PATH}/stream", scenes.status(5, "dead_letter", 2, 4))
            await until(pilot, lambda: screen.course.run["seq"] == 6)
            server.answers[PATH] = scenes.run(status="completed", seq=7, result=scenes.RESULT)
            server.push(f"{PATH}/stream", scenes.status(6, "queued", 2, 5), scenes.status(7, "completed", 3, 6))
            await until(pilot, lambda: app.return_value is not None)
            states = [step.status for step in screen.course.steps]
            assert states == ["queued", "dead_letter", "queued", "executing", "dead_letter", "queued", "completed"]
            assert app.return_value is not None
            assert (app.return_value.why, app.return_value.run["status"]) == ("over", "completed")


async def test_leaving_at_an_old_end():
    """Whoever leaves while the view passes an end that a replay has undone leaves a run that goes on."""
    with canned(scenes.life(scenes.status(2, "dead_letter", 2, 1), seq=4, attempt=2, max_attempts=1)) as server:
        async with watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.status == "dead_letter" and "attempt 2 " in text_of(app))
            assert "of 1" not in text_of(app)
            await pilot.press("q")
            await until(pilot, lambda: app.return_value is not None)
            assert app.return_value is not None
            assert app.return_value.why == "left"


async def test_the_views_of_a_small_terminal():
    """l, p and o show logs, payload and result; the same key again fills the screen, escape leaves that."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server) as (app, screen, pilot):
            await until(pilot, lambda: "checksum" in text_of(app))
            await pilot.press("p")
            assert "customer" in text_of(app)
            assert "checksum" not in text_of(app)
            await pilot.press("o")
            assert "not yet" in text_of(app)
            await pilot.press("l")
            assert "checksum" in text_of(app)
            await pilot.press("l")
            assert [one for one in (screen.maximized,) if one] == [screen.logs]
            await pilot.press("escape")
            assert [one for one in (screen.maximized,) if one] == []


async def test_small_keys():
    """y copies the id, ? shows the keys, escape puts them away."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server) as (app, screen, pilot):
            await pilot.press("y")
            assert app.clipboard == scenes.RUN_ID
            await pilot.press("question_mark")
            assert isinstance(top(app), Keys)
            await pilot.press("escape")
            assert top(app) is screen


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_leaving_leaves_the_run_alone(key: str):
    """The view is left, nothing is posted."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.status == "executing")
            await pilot.press(key)
            await until(pilot, lambda: app.return_value is not None)
            assert app.return_value is not None
            assert (app.return_value.why, app.return_value.status) == ("left", "executing")
        assert server.posted == []


async def test_the_view_ends_with_the_run_unless_somebody_stays():
    """Closed a moment after the end; a key in between keeps it open until q."""
    for stays in (False, True):
        with canned(scenes.life(*scenes.LIFE)) as server:
            async with watching(server, linger=30.0 if stays else 0.3) as (app, screen, pilot):
                await until(pilot, lambda: screen.course.status == "executing")
                finish(server)
                await until(pilot, lambda: screen.course.run["status"] == "completed")
                if stays:
                    assert "any key keeps it open" in text_of(app)
                    await pilot.press("down")
                    await until(pilot, lambda: "q leaves" in text_of(app))
                    await pilot.press("q")
                await until(pilot, lambda: app.return_value is not None)
                assert app.return_value is not None
                assert (app.return_value.why, app.return_value.run["result"]) == ("over", scenes.RESULT)


async def test_other_ends():
    """A state that was asked for, a deadline, a server that refuses."""
    for more, why in (
        ({"until": frozenset({"executing"})}, "until"),
        ({"deadline": time.monotonic() + 0.2}, "quiet"),
        ({}, "error"),
    ):
        with canned(scenes.life(*scenes.LIFE)) as server:
            if why == "error":
                del server.answers[f"{PATH}/stream"]
                server.answers.pop(PATH + "/explain")
            async with watching(server, **more) as (app, _, pilot):
                await until(pilot, lambda: app.return_value is not None)
                assert app.return_value is not None
                assert app.return_value.why == why


async def test_a_lost_connection_is_told_and_made_again():
    """The view says so and goes on where it was: no state, attempt or line is shown twice."""
    with canned(scenes.life(*scenes.LIFE)) as server:
        async with watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.lines == 4)
            kept = server.answers.pop(f"{PATH}/stream")
            server.answers[f"{PATH}/stream"] = {"busy": True}
            server.cut()
            await until(pilot, lambda: "trying again" in text_of(app))
            server.answers[f"{PATH}/stream"] = kept
            finish(server)
            await until(pilot, lambda: screen.course.run["status"] == "completed")
            states = [step.status for step in screen.course.steps]
            assert states == ["queued", "dequeued", "executing", "queued", "dequeued", "executing", "completed"]
            assert (len(screen.course.attempts), screen.course.lines) == (2, 4)


async def test_a_flood_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """Seven hundred log lines: the newest are kept (500 instead of 5,000), and the view answers."""
    for module in (course, watching_view):
        monkeypatch.setattr(module, "MOST_LINES", 500)
    lines = [scenes.log(number, 6, "info", f"line {number}", 6.0) for number in range(1, 701)]
    with canned(scenes.life(*scenes.LIFE[:6], "".join(lines))) as server:
        async with watching(server) as (app, screen, pilot):
            await until(pilot, lambda: screen.course.lines == 700 and "line 700" in text_of(app))
            assert len(screen.logs.lines) <= 500
            await pilot.press("p")
            assert "customer" in text_of(app)
