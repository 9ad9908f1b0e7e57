"""A wall clock that tests can move forward."""

from __future__ import annotations

import threading
import time


class Clock:
    """The real time plus the seconds by which tests have moved it forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the emulator's time in seconds since the epoch."""
        with self._lock:
            return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`."""
        with self._lock:
            self._ahead_s += seconds

    def reset(self) -> None:
        """Return to the real time."""
        with self._lock:
            self._ahead_s = 0.0
