"""A wall clock that tests can move forward, and which numbers of seconds the emulator takes."""

from __future__ import annotations

import threading
import time
from typing import TypeGuard

LONGEST_S = 10 * 365 * 24 * 3600
"""Greatest number of seconds that is taken: ten years, so that every time that follows from it is still a date."""


class Clock:
    """The real time plus the seconds by which tests have moved it forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the emulator's time in seconds since the epoch."""
        with self._lock:
            return time.time() + self._ahead_s

    def advance(self, seconds: object) -> None:
        """Move the clock forward by `seconds`.

        :raises ValueError: if they are no number, less than 0, or more than `LONGEST_S` together with earlier ones.
        """
        with self._lock:
            if not is_seconds(seconds) or not is_seconds(self._ahead_s + seconds):
                raise ValueError(f"A clock moves forward by 0 to {LONGEST_S} seconds in all.")
            self._ahead_s += seconds

    def reset(self) -> None:
        """Return to the real time."""
        with self._lock:
            self._ahead_s = 0.0


def is_seconds(value: object) -> TypeGuard[float]:
    """Return whether a value is a number of seconds from 0 to `LONGEST_S`; not one of NaN and infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_S
