"""Many hands on workflow runs at once: nobody hears of a deadlock, and nothing is left half done."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from strait_core.run import Status
from tests.api.caller import Caller
from tests.api.test_workflow_runs import end, make, start, steps

HANDS: Final = 8
RUNS: Final = 24


def waits(*keys: str) -> list[dict[str, Any]]:
    """A step for each key, in this order, and one after all of them."""
    made: list[dict[str, Any]] = [
        {"step_ref": f"w-{key}", "step_type": "wait_for_event", "event_key": f"{key}-{{{{payload.round}}}}"}
        for key in keys
    ]
    return [*made, {"step_ref": "end", "step_type": "approval", "depends_on": [one["step_ref"] for one in made]}]


def test_triggers_events_and_cancels_cross(api: Caller) -> None:
    """Runs that wait for the same events in opposite orders, while these are sent and runs are canceled: no 5xx."""
    for slug, keys in (("there", "abc"), ("back", "cba")):
        make(api, *waits(*keys), slug=slug)
    chance = random.Random(1)

    def hand(number: int) -> int:
        where = f"?project_id={api.project}"
        slug, turn = ("there", "back")[number % 2], {"payload": {"round": number // HANDS}}
        answer = api.client.post(f"/v1/workflows/{slug}/trigger{where}", json=turn)
        if answer.status_code != 201:
            return answer.status_code
        run = f"/v1/workflow-runs/{answer.json()['id']}"
        match number % 4:
            case 0:
                return api.client.post(f"{run}/cancel", json={}).status_code
            case 1:
                return api.client.post(f"{run}/pause", json={}).status_code
            case _:
                key = f"{'abc'[number % 3]}-{number // HANDS}"
                return api.client.post(f"/v1/events/{key}/send{where}", json={"payload": {}}).status_code

    order = chance.sample(range(RUNS * 2), RUNS * 2)
    with ThreadPoolExecutor(HANDS) as pool:
        answers = Counter(pool.map(hand, order))
    assert answers.keys() <= {200, 201, 409}, answers


def test_many_short_workflows_at_once(api: Caller) -> None:
    """Triggered side by side and ended together: each of them completes, and every answer is a good one."""
    api.make_job()
    make(api, {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]}, slug="short")
    with ThreadPoolExecutor(HANDS) as pool:
        runs = list(pool.map(lambda _: start(api, "short"), range(HANDS)))
        for ref in "ab":
            list(pool.map(lambda run, ref=ref: end(api, run, ref), runs))
    shown = [api.call("GET", f"/v1/workflow-runs/{run['id']}")["status"] for run in runs]
    assert shown == [Status.COMPLETED] * HANDS
    assert all(one["status"] == "completed" for run in runs for one in steps(api, run).values())
