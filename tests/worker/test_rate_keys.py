"""Named rate limits in running daemons: hard over all of them, and nobody waits longer than for his token."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from datetime import datetime

import pytest

from strait_core.ratekeys import RateKey
from strait_core.store import explain
from tests.support.figures import Figures
from tests.support.rig import Rig
from tests.support.scripted import Visit, answer, scripted
from tests.support.sizes import size
from tests.worker.sick import several

# Runs of each of three tenants; two may start in a second, so a tenant takes half as many seconds, less the first one.
RUNS = size(ci=8, soak=120)
DAEMONS = size(ci=2, soak=4)
LIMIT = RateKey("tenant", "{{payload.tenant}}", 2, 1)


async def well(visit: Visit) -> None:
    await visit.say(answer("200 OK"))


async def claims(rig: Rig) -> dict[str, list[datetime]]:
    """When the attempts of each tenant's runs were claimed."""
    rows = await rig.rows(
        "SELECT h.payload::json ->> 'tenant' AS tenant, a.claimed_at FROM strait.attempts a"
        " JOIN strait.run_history h ON h.id = a.run_id ORDER BY a.claimed_at"
    )
    found = defaultdict(list)
    for row in rows:
        found[row["tenant"]].append(row["claimed_at"])
    return found


@pytest.mark.soak
async def test_daemons_share_the_tokens_and_wake_for_each(migrated: str, figures: Figures):
    """Three tenants, several daemons: between any two claims of a tenant lie no more than its bucket holds and gains."""
    async with scripted(well) as endpoint, several(migrated, DAEMONS) as rigs:
        # A connection may break for its own reasons on a busy machine.
        job = await rigs[0].job(endpoint.url, rate_limit_keys=(LIMIT,))
        added = [rig.add(job, RUNS // DAEMONS, payload=json.dumps({"tenant": t})) for t in "abc" for rig in rigs]
        ids = [run_id for made in await asyncio.gather(*added) for run_id in made]
        now = rigs[0].parts.clock.now()
        told = [await explain.explain(rigs[0].conn, run_id, now, alive_since=now) for run_id in ids]
        assert any(one is not None and [reason.code for reason in one.reasons] == ["rate_key"] for one in told)
        await rigs[0].wait_all(60 + RUNS)
        found = await claims(rigs[0])
        late = []
        for times in found.values():
            assert len(times) >= RUNS
            for first, began in enumerate(times):
                for last, at in enumerate(times[first:], first):
                    # The processes read the clock a little apart.
                    assert last - first + 1 <= 2 + ((at - began).total_seconds() + 0.1) * 2
            late.append((times[-1] - times[0]).total_seconds() - (len(times) - 2) / 2)
    figures.note("rate keys: a tenant's last start, later than its tokens by", f"{max(late) * 1000:.0f} ms")
