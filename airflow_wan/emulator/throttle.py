"""The limit of reads a second that DashScope holds each account to."""

from __future__ import annotations

import time
from collections import defaultdict, deque

# Alibaba docs: query, list and cancel 20 QPS each for a main account.
READS_PER_SECOND = 20


class Throttle:
    """Counts calls within the last second, in real time: a moved clock makes nobody faster."""

    def __init__(self) -> None:
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def admits(self, caller: str, kind: str) -> bool:
        """Tell whether the caller may make one more call of this kind now."""
        now = time.monotonic()
        calls = self._calls[caller, kind]
        while calls and now - calls[0] >= 1:
            calls.popleft()
        if len(calls) >= READS_PER_SECOND:
            return False
        calls.append(now)
        return True

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()
