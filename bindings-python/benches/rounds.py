"""Interleaved rounds, as in core/benches: every case runs a slice in every round, in an order that turns round, and only
the ratios of one round are compared. Nothing here knows what is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

#: Runs a case that many times.
Work = Callable[[int], object]
#: For each case one number a round: nanoseconds an operation.
Samples = dict[str, list[float]]


class Contest:
    """The cases that are measured against each other."""

    def __init__(self) -> None:
        self.cases: dict[str, Work] = {}

    def case(self, name: str, work: Work) -> None:
        self.cases[name] = work

    def run(self, rounds: int, slice_ms: float) -> Samples:
        """Warms every case up, then measures `rounds` rounds with a slice of about `slice_ms` for each case."""
        names = list(self.cases)
        counts = {name: _calibrate(self.cases[name], slice_ms / 1e3) for name in names}
        samples: Samples = {name: [] for name in names}
        # The first round only warms up.
        for number in range(rounds + 1):
            for name in reversed(names) if number % 2 else names:
                took = _timed(self.cases[name], counts[name])
                if number > 0:
                    samples[name].append(took * 1e9 / counts[name])
        return samples


def _timed(work: Work, count: int) -> float:
    started = time.perf_counter()
    work(count)
    return time.perf_counter() - started


def _calibrate(work: Work, wanted: float) -> int:
    count = 1
    while True:
        took = _timed(work, count)
        if took * 2 >= wanted:
            return max(1, int(count * wanted / took))
        count *= 2


def merge(all_samples: Samples, more: Samples) -> None:
    """Adds the rounds of another start of the program."""
    for name, values in more.items():
        all_samples.setdefault(name, []).extend(values)


def ratios(samples: Samples, name: str, base: str) -> list[float]:
    """`name` divided by `base`, round by round."""
    return [a / b for a, b in zip(samples[name], samples[base], strict=True)]


def spread(values: list[float]) -> dict[str, float]:
    """The middle of some numbers and how far they lie apart."""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

    return {
        "median": statistics.median(ordered),
        "q1": at(0.25),
        "q3": at(0.75),
        "min": ordered[0],
        "max": ordered[-1],
        "count": len(ordered),
    }
