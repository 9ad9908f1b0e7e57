"""DashScope's rate limit for reads."""

from __future__ import annotations

import time
from collections import defaultdict, deque

# Alibaba docs: query, list and cancel 20 QPS each for a main account.
_READS_PER_SECOND = 20


class Throttle:
    """A count of each caller's calls within the last second of real time; `Clock.advance` does not change it."""

    def __init__(self) -> None:
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def admits(self, caller: str, kind: str) -> bool:
        """Return whether the caller may make one more call of this kind now; if so, count it."""
        now = time.monotonic()
        calls = self._calls[caller, kind]
        while calls and now - calls[0] >= 1:
            calls.popleft()
        if len(calls) >= _READS_PER_SECOND:
            return False
        calls.append(now)
        return True

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()
