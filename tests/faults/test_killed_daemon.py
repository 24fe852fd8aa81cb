"""kill -9 of the daemon while it works: nothing is lost, nothing is done twice, every run ends."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from strait_daemon.embedded import ValkeyServer
from tests.faults.checks import (
    expect_nothing_lost,
    expect_promises_kept,
    expect_recovery,
    rate_before,
    states,
    stored,
    wait_for_all,
)
from tests.faults.load import triggering
from tests.faults.sent_on import COMMAND, SentOn
from tests.support.daemon import free_port, running_daemon
from tests.support.endpoint import Endpoint, serving_endpoint
from tests.support.figures import Figures
from tests.support.sizes import SEED, size

MANY = {"WORKER_POOL_SIZE": "200"}
KILLS = size(ci=3, soak=50)
# How the only daemon goes, and how often. In CI the rolling restart of test_several_daemons.py tells one to stop.
ENDINGS, REPLACED = size(ci=(["kill"], 1), soak=(["kill", "stop"], 5))


def test_twice_with_200_runs_executing(database: str, endpoint: Endpoint):
    """200 runs execute, kill -9, start, they execute again, kill -9, start: each ends as its allowance says."""
    with running_daemon(database, settings=MANY) as daemon:
        daemon.make_job(endpoint.url("/hold"), "thrice", retry_strategy="fixed")
        daemon.make_job(endpoint.url("/hold"), "twice", max_attempts=2, retry_strategy="fixed")
        daemon.trigger_many(150, "thrice")
        daemon.trigger_many(50, "twice")
        endpoint.wait_for_calls(200)
        assert states(database) == {"executing": 200}
        daemon.kill()
    with running_daemon(database, settings=MANY) as daemon:
        endpoint.wait_for_calls(400, 30)
        daemon.kill()
    endpoint.release()
    with running_daemon(database, settings=MANY) as daemon:
        ended = wait_for_all(database, 200)
        assert daemon.stop() == 0
    assert states(database) == {"completed": 150, "crashed": 50}
    assert {(run["status"], run["attempt"]) for run in ended} == {("completed", 3), ("crashed", 2)}
    expect_promises_kept(database, endpoint)


@pytest.mark.soak
def test_at_random_instants(database: str, endpoint: Endpoint, valkey_server: ValkeyServer):
    """Killed again and again at any instant of its work: every accepted run completes, every change is sent on."""
    with serving_endpoint() as receiver:
        sent = SentOn(receiver, valkey_server.url)
        kill_at_random(database, endpoint, sent)
        expect_promises_kept(database, endpoint)


def kill_at_random(database: str, endpoint: Endpoint, sent: SentOn) -> None:
    """The story of that test: work, kills, and the daemon that brings it to an end."""
    instants = random.Random(SEED)
    accepted = 0
    with running_daemon(database, settings=sent.settings, command=COMMAND) as daemon:
        daemon.make_job(endpoint.url("/slow/0.02"), max_attempts=100, retry_strategy="fixed")
    for _ in range(KILLS):
        with running_daemon(database, settings=sent.settings, command=COMMAND) as daemon:
            daemon.trigger_many(400)
            accepted += 400
            # The instant itself is the test: anywhere in the first third of the work.
            time.sleep(instants.uniform(0, 0.5))
            daemon.kill()
    with running_daemon(database, settings=sent.settings, command=COMMAND) as daemon:
        wait_for_all(database, accepted, 60 + KILLS * 5)
        sent.expect_everything(database)
        assert daemon.stop() == 0
        assert "k" * 32 not in daemon.said
    assert states(database) == {"completed": accepted}
    assert len(stored(database)) == accepted


@pytest.mark.soak
@pytest.mark.parametrize("how", ENDINGS)
def test_the_only_daemon_is_replaced_under_load(database: str, endpoint: Endpoint, how: str, figures: Figures):
    """Once in CI, five times in a soak: the rate comes back within 15 s; a daemon that is told to stop spends no attempt."""
    port = free_port()
    with ExitStack() as stack:
        daemon = stack.enter_context(running_daemon(database, port=port))
        daemon.make_job(endpoint.url("/slow/0.05"), max_attempts=100, retry_strategy="fixed", breaker_threshold=0)
        with triggering(port) as load:
            for _ in range(REPLACED):
                load.wait_for(100)
                before = rate_before(endpoint)
                if how == "kill":
                    daemon.kill()
                else:
                    assert daemon.stop() == 0
                daemon = stack.enter_context(running_daemon(database, port=port))
                word = "kill -9" if how == "kill" else "SIGTERM"
                figures.note(f"back after {word} of the daemon", expect_recovery(endpoint, before))
        expect_nothing_lost(database, load, endpoint)
        assert daemon.stop() == 0
    if how == "stop":
        assert set(Counter(run for run, _ in endpoint.pairs.elements()).values()) == {1}
