"""What a scenario gives back: figures, each with its samples, its ceiling's and the share that it is to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.bed import Bed


@dataclass(frozen=True, slots=True)
class Target:
    """A bound from the performance brief: on the figure itself, or on its ratio to the ceiling."""

    bound: float
    at_least: bool
    of_ratio: bool

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def ratio_at_least(bound: float) -> Target:
    return Target(bound, at_least=True, of_ratio=True)


def ratio_at_most(bound: float) -> Target:
    return Target(bound, at_least=False, of_ratio=True)


def at_least(bound: float) -> Target:
    return Target(bound, at_least=True, of_ratio=False)


def at_most(bound: float) -> Target:
    return Target(bound, at_least=False, of_ratio=False)


@dataclass(slots=True)
class Figure:
    """One quantity over the rounds; `ceilings` stands round by round beside `samples`, or is empty."""

    name: str
    unit: str
    samples: list[float] = field(default_factory=list)
    ceilings: list[float] = field(default_factory=list)
    ceiling: str = ""
    target: Target | None = None

    def add(self, sample: float, ceiling: float | None = None) -> None:
        self.samples.append(sample)
        if ceiling is not None:
            self.ceilings.append(ceiling)

    @property
    def value(self) -> float:
        return median(self.samples)

    @property
    def ratio(self) -> float | None:
        """The median of each round's share of its own ceiling."""
        if not self.ceilings:
            return None
        return median(a / b for a, b in zip(self.samples, self.ceilings, strict=True))

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.target is None:
            return None
        compared = self.ratio if self.target.of_ratio else self.value
        return None if compared is None else self.target.met(compared)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "value": self.value, "ratio": self.ratio, "met": self.met}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: rounds, and the size of each; `foreign` collects the cores others used, per round."""

    rounds: int
    quick: bool
    calm: bool = False
    # What grows a database before it is measured is multiplied by this.
    size: int = 1
    foreign: list[float] = field(default_factory=list)

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry of the registry. `measure` leaves its databases checked by `benchmarks.invariants`."""

    name: str
    about: str
    measure: Callable[[Bed, Scale], Sequence[Figure]]
    # Left out of a plain `--quick`.
    long: bool = False


def by_name(scenarios: Sequence[Scenario]) -> Mapping[str, Scenario]:
    return {scenario.name: scenario for scenario in scenarios}
