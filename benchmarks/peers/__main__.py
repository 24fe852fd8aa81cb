"""`python -m benchmarks.peers`: no-op jobs a second, single and batch enqueue, beside Strait's in the same rounds."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from benchmarks import drains, machine, noise, report
from benchmarks.bed import ROOT, Bed
from benchmarks.measure import Figure, Scale, ratio_at_least
from benchmarks.peers.roster import ROSTER, Peer
from benchmarks.scenarios import bulk, noop, trigger
from strait_daemon.embedded import ValkeyServer

BATCH: Final = 100
SECS: Final = 300
SHAPES: Final = ("noop", "single", "batch")


class Table:
    """The figures of one shape: Strait's first, then each peer's, whose `ceilings` are Strait's of the same round."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._figures: dict[str, Figure] = {}

    def figure(self, name: str) -> Figure:
        return self._figures.setdefault(name, Figure(name, self._unit))

    @property
    def figures(self) -> list[Figure]:
        return list(self._figures.values())


class Run:
    """One run of the program."""

    def __init__(self, bed: Bed, scale: Scale, valkey: ValkeyServer, peers: list[Peer]) -> None:
        self._bed, self._scale, self._valkey = bed, scale, valkey
        self.tables = {"noop": Table("jobs/s"), "single": Table("jobs/s"), "batch": Table("jobs/s")}
        self.absent: dict[str, str] = {}
        self._peers: list[tuple[Peer, list[str]]] = []
        for peer in peers:
            command = peer.command()
            if isinstance(command, str):
                self.absent[peer.name] = command
            else:
                self._peers.append((peer, command))

    def measure(self) -> None:
        for number in noise.rounds(self._scale, []):
            for shape in SHAPES:
                ours = self._ours(shape)
                self.tables[shape].figure("Strait").add(ours)
                for peer, command in self._peers:
                    for name, words in self._words(peer, shape):
                        rate = self._peer(peer, command, words)
                        self.tables[shape].figure(name).add(rate, ours)
                        print(
                            f"  round {number + 1} {shape:7}{name:52}{rate:10,.0f}   Strait {ours:10,.0f}", flush=True
                        )

    def _ours(self, shape: str) -> float:
        scale, bed = self._scale, self._bed
        match shape:
            case "noop":
                return drains.through_nobody(bed, scale.of(50_000, 5_000), slots=noop.IN_FLIGHT).rate
            case "single":
                rate: float = trigger.of_strait(bed, scale.of(15_000, 2_000))["rate"]
                return rate
            case _:
                return bulk.rate_of(bed, scale.of(60, 5), items=BATCH * 10)

    def _words(self, peer: Peer, shape: str) -> Iterator[tuple[str, list[str]]]:
        def sized(count: int) -> str:
            return str(max(count // 10, BATCH) if self._scale.quick else count)

        if shape == "noop":
            for name, (what, count, size) in peer.drains.items():
                yield name, [what, sized(count), str(size)]
        elif shape == "single":
            yield peer.name, ["single", sized(peer.single), "0"]
        elif peer.batch:
            yield peer.name, ["batch", sized(peer.batch), str(BATCH)]

    def _peer(self, peer: Peer, command: list[str], words: list[str]) -> float:
        name = f"p_{uuid4().hex[:12]}"
        self._bed.execute(f"CREATE DATABASE {name}")
        self._bed.execute("CHECKPOINT")
        try:
            place = self._valkey.url if peer.redis else self._bed.server.tcp_dsn.replace("/postgres", f"/{name}")
            said = self._said([*command, place, *words], peer.folder())
        finally:
            self._bed.execute(f"DROP DATABASE {name} WITH (FORCE)")
        return float(said["rate"])

    def _said(self, command: list[str], folder: Path | None) -> Any:
        done = subprocess.run(
            command, cwd=folder or self._bed.folder, env=self._bed.environment(PYTHONPATH=""), capture_output=True,
            text=True, timeout=SECS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[-4:])} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def figures(run: Run) -> dict[str, list[Figure]]:
    """The three shapes, and our targets against the peers."""
    found = {shape: table.figures for shape, table in run.tables.items()}
    targets = []
    for name, ours, theirs, bound in (
        ("noop drain / PgQueuer, batch 100", "noop", "PgQueuer, batch 100", 1.5),
        ("noop drain / graphile-worker, batched", "noop", "graphile-worker, local queue, batched completion", None),
    ):
        rival = {figure.name: figure for figure in found[ours]}.get(theirs)
        if rival is not None:
            target = ratio_at_least(bound) if bound else None
            targets.append(Figure(name, "jobs/s", rival.ceilings, rival.samples, theirs, target))
    rivals = [figure for figure in found["single"] if figure.ceilings]
    if rivals:
        best = max(rivals, key=lambda figure: figure.value)
        targets.append(
            Figure(f"trigger / best single enqueue ({best.name})", "jobs/s", best.ceilings, best.samples, best.name,
                   ratio_at_least(3))
        )  # fmt: skip
    return {**found, "against peers": targets}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--calm", action="store_true", help="repeat rounds that other programs disturbed")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(peer.name for peer in ROSTER)}")
    parser.add_argument("--name", default="latest-peers", help="keep the results as results/NAME.json")
    words = parser.parse_args()
    peers = [peer for peer in ROSTER if not words.only or peer.name in words.only.split(",")]
    scale = Scale(1 if words.quick else words.rounds, words.quick, words.calm)
    with ExitStack() as stack:
        bed = stack.enter_context(Bed.made())
        valkey = stack.enter_context(ValkeyServer.start(bed.folder / "valkey"))
        described = machine.describe(bed.server)
        run = Run(bed, scale, valkey, peers)
        run.measure()
    found = figures(run)
    for shape, table in found.items():
        print(f"\n{shape}\n{report.table(table, beside='of the peer' if shape == 'against peers' else 'of Strait')}")
    for name, why in run.absent.items():
        print(f"\n{name} was not measured: {why}")
    path = report.write(
        words.name, described, found, rounds=scale.rounds, quick=scale.quick, foreign=scale.foreign, absent=run.absent,
        peers={peer.name: {"installed": peer.requirements, "note": peer.note} for peer in peers},
    )  # fmt: skip
    print(f"\nresults: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


if __name__ == "__main__":
    main()
