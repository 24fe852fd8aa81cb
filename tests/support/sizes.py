"""How large a test is: small in CI, full in `make soak`, which sets STRAIT_TEST_SOAK. See docs/testing.md.

    ROUNDS = size(ci=8, soak=200)

A module that uses `size` marks the tests whose length it sets with `pytest.mark.soak`: those are what a soak runs.
"""

from __future__ import annotations

import os
from typing import Final, TypeVar

T = TypeVar("T")

SOAK: Final = os.environ.get("STRAIT_TEST_SOAK", "0") not in {"", "0"}
# Where a test that draws at random begins: the same in every CI run, another in each round of a soak.
SEED: Final = int(os.environ.get("STRAIT_TEST_SEED", "1"))


def size(ci: T, soak: T) -> T:
    """`ci` usually, `soak` under `make soak`."""
    return soak if SOAK else ci
