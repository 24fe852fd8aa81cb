"""The view of one workflow run: its graph in colours, its steps, its second life, its ends; keys are in test_keys.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from strait_cli.tui import look
from strait_cli.tui.flowing import FlowScreen
from strait_cli.tui.graph import Picture
from strait_cli.tui.live import Left, LiveApp
from tests.tui import scenes
from tests.tui.canned import Canned, canned, event
from tests.tui.stage import SIZES, check_picture, session_at, standing, text_of, until


@asynccontextmanager
async def watching(
    server: Canned, size: tuple[int, int] = (80, 24), **more: Any
) -> AsyncIterator[tuple[LiveApp, FlowScreen, Pilot[Left]]]:
    """The view of the scene's workflow run."""
    session = session_at(server.url)
    screen = FlowScreen(session, scenes.flow(), clock=standing(9), **{"linger": None, **more})
    app = LiveApp(screen)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: len(screen.listing.rows) == 6 and "load" in text_of(app))
        yield app, screen, pilot
        screen.stop.set()
    session.close()


@pytest.mark.parametrize("size", SIZES)
async def test_pictures_of_a_workflow_run(size: str):
    """The graph, its critical path heavy, and the list; small and large: as they are in the docs."""
    with canned(scenes.pipeline()) as server:
        async with watching(server, SIZES[size]) as (app, screen, pilot):
            await pilot.press("down", "down", "down")
            await until(pilot, lambda: "waits for an approval by ann" in text_of(app), lambda: text_of(app))
            await check_picture(pilot, f"workflow-{size}", "strait workflow-runs watch")
            assert screen.flow.states["review"] == "waiting"


async def test_steps_change_colour_and_the_run_ends():
    """Moves reach graph and list; after the run's end the view is left with it."""
    with canned(scenes.pipeline()) as server:
        async with watching(server, linger=0.2) as (app, screen, pilot):
            server.answers[f"{scenes.FLOW}/steps"] = scenes.page(scenes.steps(enrich="failed"))
            server.answers[scenes.FLOW] = scenes.flow(
                status="failed", finished_at=scenes.at(8), error="step enrich failed"
            )
            server.push(f"{scenes.FLOW}/stream", scenes.step("enrich", "failed", 7))
            await until(pilot, lambda: screen.flow.states["enrich"] == "failed")
            server.push(f"{scenes.FLOW}/stream", scenes.flow_status("failed", 8))
            await until(pilot, lambda: app.return_value is not None)
            assert app.return_value is not None
            assert (app.return_value.why, app.return_value.run["error"]) == ("over", "step enrich failed")


async def test_a_workflow_run_that_failed_is_retried():
    """r does nothing before; afterwards the view stays, and follows the run through its second life."""
    with canned(scenes.pipeline()) as server:
        async with watching(server, linger=30.0) as (app, screen, pilot):
            await pilot.press("r")
            failed = scenes.flow(status="failed", finished_at=scenes.at(8), error="step enrich failed")
            server.answers[scenes.FLOW] = failed
            server.push(f"{scenes.FLOW}/stream", scenes.flow_status("failed", 8))
            await until(pilot, lambda: "any key keeps it open" in text_of(app), lambda: text_of(app))
            assert server.posted == []
            again = scenes.flow(seq=8)
            server.answers[f"POST {scenes.FLOW}/retry"] = again
            server.answers[f"{scenes.FLOW}/stream"] = [event("snapshot", "8.running.0", again)]
            await pilot.press("r")
            await until(pilot, lambda: screen.flow.status == "running" and "step enrich failed" not in text_of(app))
            assert server.posted == [(f"{scenes.FLOW}/retry", None)]
            assert "any key keeps it open" not in text_of(app)
            server.push(f"{scenes.FLOW}/stream", scenes.step("enrich", "completed", 9))
            await until(pilot, lambda: screen.flow.states["enrich"] == "completed", lambda: text_of(app))


async def test_a_wide_graph_stands_above_the_list():
    """One that does not fit beside it; all of it is drawn, and what is narrow stays beside."""
    refs = [f"extract-from-source-{n}" for n in range(6)]
    kinds = {"step_type": "job", "status": "running", "on_critical_path": False}
    nodes = [{"step_ref": ref, "level": 0, **kinds} for ref in refs] + [{"step_ref": "join", "level": 1, **kinds}]
    told = {"nodes": nodes, "edges": [{"before": ref, "after": "join"} for ref in refs]}

    def is_drawn(app: LiveApp) -> bool:
        return all(f" {ref} │" in text_of(app) for ref in refs)

    with canned(scenes.pipeline()) as server:
        async with watching(server, (120, 40)) as (app, screen, pilot):
            assert screen.graph.region.y == screen.listing.region.y
            screen._take_graph(told)
            screen._draw()
            await until(pilot, lambda: screen.graph.region.y < screen.listing.region.y and is_drawn(app))
            await pilot.resize_terminal(180, 40)
            await until(pilot, lambda: screen.graph.region.y == screen.listing.region.y and is_drawn(app))


def test_a_graph_that_does_not_fit_is_listed():
    """By levels, each step with its state."""
    nodes = [
        {"step_ref": f"step-{n}", "step_type": "job", "level": n // 100, "on_critical_path": False} for n in range(200)
    ]
    lines = Picture({"nodes": nodes, "edges": []}).lines(80, {"step-3": "failed"})
    assert lines[0].plain == "level 1"
    assert lines[4].plain.split() == ["✗", "failed", "step-3"]
    assert any(span.style == look.RED for span in lines[4].spans)
