"""DashScope's limits of calls a second."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class LastSecond:
    """The calls within the last second of real time; `Clock.advance` does not change it."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque()

    def __len__(self) -> int:
        now = time.monotonic()
        while self._calls and now - self._calls[0] >= 1:
            self._calls.popleft()
        return len(self._calls)

    def add(self) -> None:
        """Count a call."""
        self._calls.append(time.monotonic())


class Throttle:
    """The calls of the last second that each account has made of each kind."""

    def __init__(self) -> None:
        self._calls: defaultdict[Hashable, LastSecond] = defaultdict(LastSecond)

    def admits(self, what: Hashable, calls_per_s: int | None) -> bool:
        """Return whether one more call may be made now; if so, count it.

        :param what: what is limited, such as an account and a kind of call.
        :param calls_per_s: the limit; None for no limit.
        """
        if calls_per_s is None:
            return True
        calls = self._calls[what]
        if len(calls) >= calls_per_s:
            return False
        calls.add()
        return True

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()
