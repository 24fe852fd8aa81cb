"""How much of the machine other programs used meanwhile, and rounds that are repeated when that was too much."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from benchmarks import cpu
from benchmarks.measure import Figure, Scale

# Cores' worth of foreign work beyond which a round is not calm.
DISTURBED: Final = 0.12
# With --calm: how long to wait for a quiet machine before a round, and how many rounds to give up for one that counts.
PATIENCE_SECS: Final = 90.0
TRIES: Final = 4
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


def _busy_secs() -> float:
    """CPU seconds that the whole machine has worked; what a hypervisor took away counts as work of others."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) * _TICK


class Watch:
    """Measures from its making on."""

    def __init__(self) -> None:
        self._at, self._busy, self._own = monotonic(), _busy_secs(), cpu.spent(os.getpid())

    def foreign_cores(self) -> float:
        """Cores' worth of work that was not ours, on average."""
        secs = monotonic() - self._at
        return max(0.0, (_busy_secs() - self._busy) - (cpu.spent(os.getpid()) - self._own)) / max(secs, 1e-3)


def wait_for_calm() -> None:
    """Wait until others use next to nothing for a second, but not for ever."""
    deadline = monotonic() + PATIENCE_SECS
    while monotonic() < deadline:
        watch = Watch()
        sleep(1)
        if watch.foreign_cores() <= DISTURBED:
            return


def rounds(scale: Scale, figures: Sequence[Figure]) -> Iterator[int]:
    """Count off the rounds. With `--calm` a round that others disturbed is repeated and its samples are dropped."""
    tries = 0
    for number in range(scale.rounds):
        while True:
            if scale.calm:
                wait_for_calm()
            marks = [(len(figure.samples), len(figure.ceilings)) for figure in figures]
            watch = Watch()
            yield number
            foreign = watch.foreign_cores()
            tries += 1
            if not scale.calm or foreign <= DISTURBED or tries >= TRIES * scale.rounds:
                break
            for figure, (samples, ceilings) in zip(figures, marks, strict=True):
                del figure.samples[samples:], figure.ceilings[ceilings:]
        scale.foreign.append(foreign)
