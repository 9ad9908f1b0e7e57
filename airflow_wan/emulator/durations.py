"""How long tasks run: always equally long, or drawn from a spread like those that people have published."""

from __future__ import annotations

import random
from bisect import bisect_right
from enum import StrEnum


class Durations(StrEnum):
    """The spreads of the seconds that a task is RUNNING.

    - `fixed`: every task takes `Settings.running_s`.
    - `spread`: 83 to 253 s, half of them at most 105 s: published for 13 clips of wan2.7, 720P and 5 s. Between these
      three figures, every length is equally likely.
    - `two-humped`: half take 60 to 80 s, the others 220 to 260 s, as from fast and slow machines. Invented.
    - `wan3`: 600 to 900 s, half of them at most 720 s. Only the 12 minutes are from Alibaba's page of wan3.0.
    """

    FIXED = "fixed"
    SPREAD = "spread"
    TWO_HUMPED = "two-humped"
    WAN3 = "wan3"


# The share of the tasks that take at most so many seconds; between two points it grows evenly.
_SHARES = {
    Durations.SPREAD: ((0.0, 83.0), (0.5, 105.0), (1.0, 253.0)),
    Durations.TWO_HUMPED: ((0.0, 60.0), (0.5, 80.0), (0.5, 220.0), (1.0, 260.0)),
    Durations.WAN3: ((0.0, 600.0), (0.5, 720.0), (1.0, 900.0)),
}


class Draw:
    """Draws how long each task runs: after a reset, again the same times in the same order.

    :param durations: the spread.
    :param fixed_s: the seconds of every task if the spread is `fixed`.
    """

    def __init__(self, durations: Durations, fixed_s: float) -> None:
        self._durations = durations
        self._fixed_s = fixed_s
        self.reset()

    def reset(self) -> None:
        """Begin again with the first task's time."""
        self._random = random.Random(0)  # noqa: S311  # no secret

    def next_s(self) -> float:
        """Return how many seconds the next task runs."""
        if self._durations is Durations.FIXED:
            return self._fixed_s
        return _seconds_of(self._random.random(), _SHARES[self._durations])


def _seconds_of(share: float, points: tuple[tuple[float, float], ...]) -> float:
    right = bisect_right(points, share, key=lambda point: point[0])
    (low, from_s), (high, to_s) = points[right - 1], points[right]
    return from_s + (to_s - from_s) * (share - low) / (high - low)
