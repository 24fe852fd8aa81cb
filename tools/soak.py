"""The long tests, round after round with other seeds, until the time is over: `make soak`, or `make soak MINUTES=480`.

Each round runs every test marked `soak` or drawn by Hypothesis, at full size; after the last one come what failed and
what was measured. Words after `--` go to pytest. Exit code 1 when a round failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHOSEN = ["tests", "--ignore=tests/system", "--ignore=tests/project", "--timeout=0", "-m", "soak or hypothesis"]


def one_round(seed: int, words: list[str], figures: Path) -> tuple[int, float]:
    """Run everything once; pytest's exit code and the seconds it took."""
    began = time.monotonic()
    told = {"STRAIT_TEST_SOAK": "1", "STRAIT_TEST_SEED": str(seed), "STRAIT_TEST_FIGURES": str(figures)}
    code = subprocess.call([sys.executable, "-m", "pytest", *CHOSEN, *words], cwd=ROOT, env={**os.environ, **told})
    return code, time.monotonic() - began


def main() -> int:
    """Run rounds until the time is over, at least one."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=0, help="begin no round later than this (default: one)")
    options.add_argument("--seed", type=int, default=int(time.time()), help="the first round's; each next one adds 1")
    options.add_argument("words", nargs="*", help="more words for pytest")
    given = options.parse_args()
    until = time.monotonic() + given.minutes * 60
    rounds: list[tuple[int, int, float]] = []
    with tempfile.TemporaryDirectory(prefix="strait-soak-") as folder:
        figures = Path(folder, "figures")
        while not rounds or time.monotonic() < until:
            seed = given.seed + len(rounds)
            print(f"soak: round {len(rounds) + 1}, seed {seed}", flush=True)
            rounds.append((seed, *one_round(seed, given.words, figures)))
        print("\nsoak: what was measured")
        print(figures.read_text(encoding="utf-8") if figures.exists() else "nothing")
    for seed, code, secs in rounds:
        print(f"soak: seed {seed}: {'passed' if code == 0 else f'FAILED (pytest exit {code})'} in {secs / 60:.1f} min")
    return int(any(code for _, code, _ in rounds))


if __name__ == "__main__":
    sys.exit(main())
