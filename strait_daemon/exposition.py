"""What /metrics shows: this process's figures, those of its sibling processes, and what all share.

The processes of `serve --processes N` listen on one address, so a scrape reaches one of them. It answers for all: each
sample carries the label `process`, as if each had been scraped by itself, because a sum over them would drop when one
is replaced, and `rate()` would take that for a reset of all. Siblings are asked over sockets in a folder that only
their user can enter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from strait_core.run import Status
from strait_core.store import sinks, stats
from strait_core.store.pool import Conn, Pool
from strait_daemon.clock import Clock
from strait_daemon.telemetry import CONTENT_TYPE, Metrics

# A sibling that does not answer by then is shown as down.
SIBLING_SECS: Final = 1.0
DATABASE_SECS: Final = 2.0
_ENDING: Final = ".sock"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Siblings:
    """The processes of one supervisor: where each has its socket, and which of them this one is."""

    folder: Path
    number: int

    def others(self) -> dict[int, Path]:
        """The sockets of all but this one, by number."""
        found = {int(path.stem): path for path in self.folder.glob(f"*{_ENDING}")}
        return {number: found[number] for number in sorted(found) if number != self.number}


def socket_of(folder: Path, number: int) -> Path:
    """Where the process of that number is asked for its figures."""
    return folder / f"{number}{_ENDING}"


class Exposition:
    """The text of a scrape, and its content type; `sinks` are those of changes, with the clock for their lag."""

    def __init__(
        self,
        metrics: Metrics,
        pool: Pool,
        siblings: Siblings | None = None,
        sinks: tuple[Clock, Sequence[str]] | None = None,
    ) -> None:
        self._metrics = metrics
        self._pool = pool
        self._siblings = siblings
        self._sinks = sinks

    async def __call__(self) -> tuple[bytes, str]:
        """The figures of all processes; one that does not answer is shown as down, and its figures are missing."""
        shared = await self._shared()
        own = self._metrics.render()
        if self._siblings is None:
            return own + _rendered(shared), CONTENT_TYPE
        others = self._siblings.others()
        answers = await asyncio.gather(*map(_asked, others.values()))
        texts = {self._siblings.number: own.decode(), **dict(zip(others, answers, strict=True))}
        return _rendered([*labelled(texts), *shared]), CONTENT_TYPE

    async def _shared(self) -> list[Metric]:
        """What the database tells of all processes; nothing while it is away."""
        try:
            async with asyncio.timeout(DATABASE_SECS), self._pool.connection() as conn:
                return [await _depth(conn), *([] if self._sinks is None else await _lag(conn, *self._sinks))]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other figures are there
            log.warning("depth_not_counted", error=type(error).__name__)
            return []


async def _depth(conn: Conn) -> Metric:
    """Runs by state."""
    family = GaugeMetricFamily("strait_runs", "Runs by state, over all processes", labels=["status"])
    depth = await stats.depth(conn, None)
    for status in Status:
        family.add_metric([status.value], depth.get(status.value, 0))
    return family


async def _lag(conn: Conn, clock: Clock, names: Sequence[str]) -> list[Metric]:
    """How far the sinks of changes are behind."""
    if not names:
        return []
    lag = GaugeMetricFamily(
        "strait_changes_lag_seconds", "Age of the oldest change not sent on yet, over all processes", labels=["sink"]
    )
    failing = GaugeMetricFamily(
        "strait_changes_failing", "Whether the last attempt to send changes on was in vain", labels=["sink"]
    )
    now = clock.now()
    for one in await sinks.standing(conn, names):
        behind = 0.0 if one.waiting_since is None else (now - one.waiting_since).total_seconds()
        lag.add_metric([one.name], max(0.0, behind))
        failing.add_metric([one.name], int(one.failing_since is not None))
    return [lag, failing]


async def _asked(path: Path) -> str | None:
    """A sibling's figures; None when it does not answer."""
    limit = aiohttp.ClientTimeout(total=SIBLING_SECS)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)), timeout=limit) as session,
            session.get("http://localhost/metrics") as answer,
        ):
            return await answer.text() if answer.status == 200 else None
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        return None


def labelled(texts: Mapping[int, str | None]) -> list[Metric]:
    """The families of several expositions, each sample with the number of its process; None = the process is down."""
    up = GaugeMetricFamily("strait_process_up", "Whether the process tells its figures", labels=["process"])
    families: dict[str, Metric] = {"strait_process_up": up}
    for number, text in texts.items():
        up.add_metric([str(number)], 0 if text is None else 1)
        for found in text_string_to_metric_families(text or ""):
            family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            for sample in found.samples:
                family.add_sample(sample.name, {"process": str(number), **sample.labels}, sample.value)
    return list(families.values())


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _rendered(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)
