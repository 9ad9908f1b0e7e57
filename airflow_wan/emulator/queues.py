"""The queue of one account and model: some tasks are in process, the others wait in the order of their creates."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_wan.emulator.tasks import Task


class Queue:
    """Starts each task as soon as an earlier one has ended; what follows from the clock is worked out when it is asked.

    :param places: how many tasks may be in process at a time.
    """

    def __init__(self, places: int) -> None:
        # Since when each free place has been free.
        self._free: list[float] = [0.0] * places
        self._waiting: deque[Task] = deque()
        self._running: list[Task] = []
        self._lock = threading.Lock()

    def join(self, task: Task) -> None:
        """Put a task at the end of the queue."""
        with self._lock:
            self._waiting.append(task)

    def settle(self, now: float) -> None:
        """Start every task that has got a place by `now`."""
        with self._lock:
            while self._starts_next(now):
                pass

    def _starts_next(self, now: float) -> bool:
        self._free_places(now)
        while self._waiting and self._waiting[0].canceled_at is not None:
            self._waiting.popleft()
        if not self._waiting or not self._free:
            return False
        starts_at = max(self._free[0], self._waiting[0].may_start_at)
        if starts_at > now:
            return False
        heapq.heappop(self._free)
        task = self._waiting.popleft()
        task.start(starts_at)
        self._running.append(task)
        return True

    def _free_places(self, now: float) -> None:
        still_running = []
        for task in self._running:
            ended_at = task.at(now).ended_at
            if ended_at is None:
                still_running.append(task)
            else:
                heapq.heappush(self._free, ended_at)
        self._running = still_running
