"""The dashboard on a real daemon: shown as the feed tells it, by reading where there is no feed, and what is read then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from textual.pilot import Pilot

from strait_cli.session import Session
from strait_cli.tui import dashboard
from strait_cli.tui.dashboard import TABS, Dashboard, Link
from tests.cli.runner import Shell, ended, trigger
from tests.cli.test_polling import Proxy, in_front_of
from tests.support.daemon import SECRET, Daemon
from tests.support.endpoint import Endpoint
from tests.tui.stage import text_of, until


@pytest.fixture
def proxy(cli_daemon: Daemon) -> Iterator[Proxy]:
    """One in front of the session's daemon that lets no stream through."""
    with in_front_of(cli_daemon) as serving:
        yield serving


@asynccontextmanager
async def board(url: str, shell: Shell, link: Link, tab: str = "runs") -> AsyncIterator[tuple[Dashboard, Pilot[None]]]:
    """The dashboard of the shell's project, at a tab, once it is linked like this."""
    given = {"server": url, "api_key": SECRET, "project": shell.settings["STRAIT_PROJECT"], "request_timeout": 5.0}
    session = Session(given, lenient=True)
    app = Dashboard(session)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press(str(TABS.index(tab) + 1))
        await until(pilot, lambda: app.link is link and app.panes[tab].is_read and not app.is_busy(tab))
        yield app, pilot
    session.close()


def state_of(app: Dashboard, run_id: str, tab: str = "runs") -> str | None:
    """The state in which a tab has a run, None when it has none."""
    row = app.panes[tab].listing.rows.get(run_id)
    return None if row is None else row["status"]


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look after the first ones: what is seen then was told, or is read because of what was told."""
    monkeypatch.setattr(dashboard, "LOOK_SECS", 600.0)


@pytest.fixture
def elsewhere(shell: Shell, job: str, cli_endpoint: Endpoint) -> Shell:
    """A shell in another project, with a job of the same name."""
    other = Shell(shell.home, {**shell.settings, "STRAIT_PROJECT": f"{shell.settings['STRAIT_PROJECT']}-other"})
    other.ok("jobs", "create", "--name", "Echo", "--slug", job, "--endpoint", cli_endpoint.url("/echo"))
    return other


COLUMNS: Final = ("status", "seq", "attempt", "job_slug", "created_at", "started_at", "finished_at", "error")


@pytest.mark.usefixtures("no_looks")
async def test_runs_are_shown_as_the_feed_tells(
    shell: Shell, job: str, failing_job: str, elsewhere: Shell, cli_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    """A new one stands on top, each goes on to its end, in the tab and in the overview; those of other projects do not."""
    monkeypatch.setattr(dashboard, "CATCH_UP_SECS", 600.0)
    before = ended(shell, job)["id"]
    async with board(cli_daemon.url, shell, Link.LIVE) as (app, pilot):
        listing = app.panes["runs"].listing
        other, first, second = (
            trigger(elsewhere, job)["id"],
            trigger(shell, job)["id"],
            trigger(shell, failing_job)["id"],
        )
        await until(pilot, lambda: [state_of(app, one) for one in (first, second)] == ["completed", "dead_letter"])
        assert listing.shown == [second, first, before]
        for run_id in (first, second):
            read = cli_daemon.run(run_id)
            assert {name: listing.rows[run_id][name] for name in COLUMNS} == {name: read[name] for name in COLUMNS}
        assert [(run["id"], run["status"]) for run in app.overview.newest] == [
            (second, "dead_letter"),
            (first, "completed"),
            (before, "completed"),
        ]
        assert other not in listing.rows
        assert "● live" in text_of(app)


@pytest.mark.usefixtures("no_looks")
async def test_what_the_feed_does_not_say_is_read(shell: Shell, job: str, failing_job: str, cli_daemon: Daemon):
    """An end that is told without its reason, as after a loss; a run that moves and that nobody has told of."""
    dead, other = ended(shell, failing_job), ended(shell, job)["id"]
    end = {"run_id": dead["id"], "status": "dead_letter", "seq": dead["seq"], "attempt": 1, "at": dead["finished_at"]}
    async with board(cli_daemon.url, shell, Link.LIVE) as (app, pilot):
        runs = app.panes["runs"]
        await until(pilot, lambda: not runs.is_behind and not app.is_busy("runs"))
        runs.listing.replace([{**dead, "status": "executing", "seq": dead["seq"] - 1, "error": None}])
        runs.hear([end])
        assert state_of(app, dead["id"]) == "dead_letter"
        await until(pilot, lambda: runs.listing.rows[dead["id"]]["error"] == dead["error"])
        runs.listing.drop([other])
        runs.hear([{**end, "run_id": other}])
        await until(pilot, lambda: state_of(app, other) == "completed")


@pytest.mark.usefixtures("no_looks")
async def test_dead_runs_come_and_go_as_the_feed_tells(shell: Shell, failing_job: str, cli_daemon: Daemon):
    """One that dies is read, one that is replayed leaves at once."""
    async with board(cli_daemon.url, shell, Link.LIVE, "dlq") as (app, pilot):
        dead = ended(shell, failing_job)["id"]
        await until(pilot, lambda: state_of(app, dead, "dlq") == "dead_letter")
        app.panes["dlq"].hear([{"run_id": dead, "status": "queued", "seq": 9}])
        assert state_of(app, dead, "dlq") is None


async def test_without_a_feed_the_dashboard_asks(shell: Shell, job: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch):
    """Behind a proxy that lets no stream through it says so, and shows the same a second later."""
    monkeypatch.setattr(dashboard, "FED_LOOKS", 10_000)
    ended(shell, job)
    async with board(proxy.url, shell, Link.POLLING) as (app, pilot):
        await until(pilot, lambda: "/v1/stream" in proxy.refused)
        run = trigger(shell, job)["id"]
        await until(pilot, lambda: state_of(app, run) == "completed")
        assert "◔ polling" in text_of(app)
