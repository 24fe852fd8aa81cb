"""`strait dev` from an empty folder to the first completed run, then once more on the same folder, then idle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

from benchmarks import cpu, noise
from benchmarks.bed import Bed, Daemon, end, free_port, wait_until
from benchmarks.measure import Figure, Scale, Scenario, at_most
from strait_core.run import TERMINAL

# The job that `strait dev` brings.
JOB = "hello-world"
SETTLE_SECS = 3.0


def started(bed: Bed, folder: Path, port: int) -> tuple[Daemon, float]:
    """A `strait dev` on this folder, and the seconds until its first run had completed."""
    began = monotonic()
    daemon = spawned(bed, folder, port)
    try:
        complete_one(daemon)
    except BaseException:
        end(daemon.process)
        raise
    return daemon, monotonic() - began


def spawned(bed: Bed, folder: Path, port: int) -> Daemon:
    env = {
        "HOME": str(folder), "STRAIT_DEV_INTERNAL_SECRET": bed.secret, "STRAIT_DEV_JWT_SIGNING_KEY": bed.secret[::-1],
    }  # fmt: skip
    log = bed.folder / "dev.log"
    words = [sys.executable, "-m", "strait_cli", "dev", "--db", str(folder / "db"), "--port", str(port)]
    with log.open("wb") as sink:
        process = bed.spawn(words, env=env, stdout=sink, stderr=sink)
    return Daemon(process, port, log, bed.secret)


def complete_one(daemon: Daemon) -> None:
    """Wait as a person does, then carry out one run."""
    wait_until(daemon.serving, 60, "strait dev")
    # What a person waits for: the words that say what to type next.
    wait_until(lambda: "In another shell" in daemon.log.read_text(errors="replace"), 30, "the announcement")
    run = daemon.call("POST", f"/v1/jobs/{JOB}/trigger", {"payload": {"greeting": "hi"}})
    path = f"/v1/runs/{run['id']}"
    wait_until(lambda: daemon.call("GET", path)["status"] in TERMINAL, 30, "the first run")
    if (found := daemon.call("GET", path))["status"] != "completed":
        raise AssertionError(f"the first run is {found['status']}: {found['error']}")


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    idle_secs = scale.of(6, 3)
    cold = Figure("strait dev, empty folder → first completed run", "s", target=at_most(4))
    warm = Figure("strait dev, second start → first completed run", "s", target=at_most(2))
    memory = Figure("idle daemon, resident memory", "MB", target=at_most(120))
    load = Figure("idle daemon, CPU", "% of a core", target=at_most(1))
    database = Figure("idle PostgreSQL, CPU", "% of a core")
    figures = [cold, warm, memory, load, database]
    for _ in noise.rounds(scale, figures):
        folder = bed.folder / "dev"
        folder.mkdir()
        port = free_port()
        try:
            daemon, secs = started(bed, folder, port)
            end(daemon.process)
            cold.add(secs)
            daemon, secs = started(bed, folder, port)
            warm.add(secs)
            sleep(SETTLE_SECS)
            memory.add(cpu.resident(daemon.pid, alone=True) / 1e6)
            own, whole = cpu.spent(daemon.pid, alone=True), cpu.spent(daemon.pid)
            sleep(idle_secs)
            used = cpu.spent(daemon.pid, alone=True) - own
            load.add(used / idle_secs * 100)
            database.add((cpu.spent(daemon.pid) - whole - used) / idle_secs * 100)
            end(daemon.process)
        finally:
            end(daemon.process)
            shutil.rmtree(folder, ignore_errors=True)
    return figures


SCENARIO = Scenario("cold-start", "strait dev on an empty folder, on a used one, and idle", measure, long=True)
