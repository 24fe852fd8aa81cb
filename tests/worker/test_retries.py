"""The delays between attempts, one after the other, and what a single run may ask for instead of its job's policy."""

from __future__ import annotations

from typing import Any

import pytest

from strait_core.run import Status
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually


async def delays(rig: Rig, job: Any, count: int, **request: Any) -> list[float]:
    """The waits after the first `count` attempts of a run, as they were decided; none of them is waited for."""
    (run_id,) = await rig.add(job, **request)
    found = []
    for number in range(1, count + 1):

        async def closed(number: int = number) -> list[dict[str, Any]]:
            tried = await rig.attempts(run_id)
            return tried if len(tried) == number else []

        tried = await eventually(closed)
        run = await rig.run(run_id)
        found.append((run["next_retry_at"] - tried[-1]["finished_at"]).total_seconds())
        now = rig.parts.clock.now()
        await rig.rows("UPDATE strait.due SET due_at = %s WHERE run_id = %s", now, run_id)
        await rig.rows("UPDATE strait.runs SET next_retry_at = %s WHERE id = %s", now, run_id)
        rig.parts.wake_service("stager")
    await rig.cancel(run_id)
    return found


@pytest.mark.parametrize(
    ("policy", "means"),
    [
        ({"retry_strategy": "exponential"}, [1, 2, 4, 8]),
        ({"retry_strategy": "linear"}, [1, 2, 3, 4]),
        ({"retry_strategy": "fixed"}, [1, 1, 1, 1]),
        ({"retry_strategy": "custom", "retry_delays_secs": (10, 3_600, 60)}, [10, 3_600, 60, 60]),
    ],
    ids=["exponential", "linear", "fixed", "custom"],
)
async def test_the_delays_of_a_strategy_one_after_the_other(
    rig: Rig, endpoint: Endpoint, policy: dict[str, Any], means: list[int]
) -> None:
    """Within a fifth of what the strategy says, never under a second, never over an hour; a list's last one repeats."""
    job = await rig.job(endpoint.url("/status/404"), max_attempts=9, **policy)
    for wait, mean in zip(await delays(rig, job, 4), means, strict=True):
        assert max(1, mean * 0.8) - 0.001 <= wait <= min(3_600, mean * 1.2) + 0.001


async def test_delays_are_spread(rig: Rig, endpoint: Endpoint) -> None:
    """What failed together does not come back together."""
    job = await rig.job(
        endpoint.url("/status/404"), retry_strategy="custom", retry_delays_secs=(1_000,), breaker_threshold=0
    )
    await rig.add(job, 40)

    async def waiting() -> list[dict[str, Any]]:
        rows = await rig.rows("SELECT next_retry_at AS at FROM strait.runs WHERE next_retry_at IS NOT NULL")
        return rows if len(rows) == 40 else []

    times = sorted(row["at"] for row in await eventually(waiting))
    assert (times[-1] - times[0]).total_seconds() > 100


async def test_a_run_may_have_a_policy_of_its_own(rig: Rig, endpoint: Endpoint) -> None:
    """Strategy, attempts and time limit of the trigger stand before the job's."""
    job = await rig.job(
        endpoint.url("/status/404"), max_attempts=1, retry_strategy="custom", retry_delays_secs=(500,), timeout_secs=300
    )
    assert [round(wait) for wait in await delays(rig, job, 3, retry_strategy="linear", max_attempts=5)] == [
        pytest.approx(mean, abs=1) for mean in (1, 2, 3)
    ]
    slow = await rig.job(endpoint.url("/hang"), slug="slow", max_attempts=3)
    (run_id,) = await rig.add(slow, max_attempts=1, timeout_secs=1)
    run = await rig.wait(run_id)
    assert (run["status"], run["attempt"], run["error"]) == (Status.TIMED_OUT, 1, "timeout: no answer within 1 s")


async def test_priority_rises_with_each_retry_to_ten(rig: Rig, endpoint: Endpoint) -> None:
    """By the job's boost; what was ten already stays ten, and a boost of zero changes nothing."""
    for slug, first, boost, then in (("up", 5, 4, [9, 10]), ("full", 10, 10, [10, 10]), ("flat", 3, 0, [3, 3])):
        job = await rig.job(
            endpoint.url("/status/404"), slug=slug, priority=first, retry_priority_boost=boost, retry_strategy="fixed"
        )
        (run_id,) = await rig.add(job)
        seen = []
        for number in (1, 2):

            async def retried(number: int = number, run_id: Any = run_id) -> dict[str, Any] | None:
                run = await rig.run(run_id)
                return run if run["attempt"] == number and run["next_retry_at"] is not None else None

            seen.append((await eventually(retried))["priority"])
        assert seen == then
        await rig.cancel(run_id)
