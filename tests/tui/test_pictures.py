"""The pictures of the dashboard's other tabs and of what opens over them, small and large."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from strait_cli.tui.detail import Detail
from strait_cli.tui.dialogs import Keys, Question
from tests.tui import scenes
from tests.tui.canned import canned
from tests.tui.stage import SIZES, check_picture, text_of, top, until
from tests.tui.test_dashboard import go_to, shown

# Those in docs/pictures are for readers; these show that nothing has moved.
HERE: Final = Path(__file__).with_name("pictures")


@pytest.mark.parametrize("size", SIZES)
async def test_pictures_of_the_tabs_and_of_what_they_open(size: str):
    """Each list, a job with all its fields, a workflow as its graph."""
    with canned(scenes.everything()) as server:
        async with shown(server, SIZES[size]) as (app, pilot):
            for tab, opened in (
                ("jobs", "job"),
                ("workflows", "graph"),
                ("schedules", "fires"),
                ("dlq", None),
                ("events", None),
            ):
                await go_to(app, pilot, tab)
                assert "q Quit" in text_of(app)
                await check_picture(pilot, f"{tab}-{size}", "strait dashboard", HERE)
                if opened is not None:
                    await pilot.press("enter")
                    await until(pilot, lambda: isinstance(top(app), Detail))
                    assert opened != "fires" or "2030-02-05T02:00:00+01:00" in text_of(app)
                    await check_picture(pilot, f"{opened}-{size}", "strait dashboard", HERE)
                    await pilot.press("escape")


@pytest.mark.parametrize("size", SIZES)
async def test_pictures_of_the_dialogs(size: str):
    """The question before a deed to many rows, and the keys there are."""
    with canned(scenes.everything()) as server:
        async with shown(server, SIZES[size], tab="jobs") as (app, pilot):
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(top(app), Keys))
            await check_picture(pilot, f"keys-{size}", "strait dashboard", HERE)
            await pilot.press("escape", "a", "p")
            await until(pilot, lambda: isinstance(top(app), Question))
            await check_picture(pilot, f"question-{size}", "strait dashboard", HERE)
