"""What a process can tell of a gateway's queue from its own tasks: which have left it, and when the others will.

A gateway runs a few tasks of each model at a time for an account; the others are PENDING, first come, first served. A
read of a task tells of others, too: those that came before a running one have left the queue, those that came after one
in the queue have not, and when one ends, the next one starts.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from airflow_wan.waiting.durations import RunTimes

SLOTS = 5
"""Tasks of a model that an account runs at a time; more wait PENDING (Alibaba's rate-limit page: 5 for wan2.7 and
wan2.6). Used only until a queue's pace was seen."""

_SOONER_S = 10.0
"""Seconds by which a task must have started before its believed start, to show that one more runs at a time."""

_PACE_STARTS = 16
"""Starts that a queue's pace is measured by."""


@dataclass(frozen=True, slots=True)
class PlaceInQueue:
    """Where a task is believed to be in the gateway's queue, as far as this process's own tasks tell.

    :param ahead: how many of this process's tasks of the same model are before it in the queue.
    :param running: how many of them run.
    :param starts_at: when it is expected to start, as a Unix time in seconds.
    """

    ahead: int
    running: int
    starts_at: float


@dataclass(slots=True, eq=False)
class Wait:
    """One wait. Times are those of the schedule's own clock, in seconds.

    :param place: what the tasks of a model are ordered by: when they were submitted, and when they joined.
    :param joined: when the wait began, at the earliest when the task was submitted.
    :param interval: the user's fixed time between reads, in seconds.
    :param cost_s: what its next read costs.
    :param seen: when the task was last known not to have ended.
    :param read: when it was last read, or else joined.
    :param began: when it left the queue, if known.
    :param guess: when it is believed to have left the queue, because another task made room for it.
    :param queued: when it was last seen in the queue.
    :param ended: when it was first seen to have ended.
    :param counted_s: its age up to which the durations know that it ran.
    :param early: whether its first read comes early.
    :param busy: while a read is under way, when that is taken for lost.
    :param held: not to be read before.
    :param due: when to look at it next.
    """

    wait_id: Hashable
    queue: GatewayQueue
    times: RunTimes
    place: tuple[float, int]
    joined: float
    interval: float | None
    cost_s: float
    seen: float
    read: float
    early: bool = False
    busy: float = -math.inf
    began: float | None = None
    guess: float | None = None
    queued: float | None = None
    ended: float | None = None
    counted_s: float = 0.0
    held: float = -math.inf
    due: float = math.inf


_NOWHERE = (math.inf, 0)


def _place(wait: Wait) -> tuple[float, int]:
    return wait.place


@dataclass(slots=True, eq=False)
class GatewayQueue:
    """What is believed of the gateway's queue for one model: first come, first served.

    :param line: the waits of which nothing tells that they left the queue, in order.
    :param front: the place from which on all in the line were seen in the queue; infinity while none was.
    :param front_seen: when the first of them was last seen there.
    :param moved: when the queue was last seen to stand, or a task to leave it.
    :param waits: how many waits there are for the model.
    :param running: how many of them are known to run.
    :param guessed: how many are believed to.
    :param slots: how many seem to run at a time. The account may run more of them, for other processes.
    :param starts: when tasks that had queued left the queue, the latest ones.
    """

    line: list[Wait] = field(default_factory=list)
    front: tuple[float, int] = _NOWHERE
    front_seen: float = -math.inf
    moved: float = -math.inf
    waits: int = 0
    running: int = 0
    guessed: int = 0
    slots: int = 0
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE_STARTS))

    def join(self, wait: Wait) -> None:
        """Add a wait."""
        self.waits += 1
        self._put(wait)

    def leave(self, wait: Wait) -> None:
        """Forget a wait."""
        self.waits -= 1
        self._remove(wait)
        self._forget_run(wait)

    def ahead_of(self, wait: Wait) -> int | None:
        """Return how many waits are before this one in the queue; None if nothing tells that it is in the queue."""
        if wait.place < self.front or wait.began is not None or wait.guess is not None:
            return None
        return self._index(wait.place) - self._index(self.front)

    def starts_at(self, wait: Wait, ahead: int) -> float:
        """Return when a wait in the queue is expected to leave it."""
        return self.moved + (ahead + 1) / self._pace(wait.times)

    def found_queued(self, wait: Wait, now: float) -> None:
        """Note that a wait was seen in the queue: then so are all that came after it."""
        self._forget_run(wait)
        wait.began = wait.guess = None
        wait.queued = now
        self._put(wait)
        if wait.place <= self.line[min(self._index(self.front), len(self.line) - 1)].place:
            self.front, self.front_seen, self.moved = wait.place, now, now
            self.slots = self.running + self.guessed

    def found_running(self, wait: Wait, began: float) -> list[Wait]:
        """Note when a wait left the queue; return those that came before it, and must have left it, too."""
        if wait.guess is not None and began < wait.guess - _SOONER_S:
            self.slots += 1
        had_queued = wait.queued is not None or wait.guess is not None or wait.place >= self.front
        before = self._index(wait.place) - self._index(self.front)
        self._remove(wait)
        self._forget_run(wait)
        wait.began = began
        self.running += 1
        self.slots = max(self.slots, self.running)
        if had_queued:
            self.starts.append(began)
        between = (min(self.moved, began) + began) / 2 if math.isfinite(self.moved) else began
        gone = [self._let_go(between) for _ in range(before)]
        self.moved = max(self.moved, began)
        return gone + self._fill(self.moved)

    def made_room(self, at: float, *, exact: bool = True) -> list[Wait]:
        """Note that a task stopped running; return the waits that are believed to have left the queue for it.

        :param exact: whether the gateway told the time.
        """
        if exact and at < self.front_seen:
            # A task of another process took the room: the first of ours was still in the queue afterwards.
            self.slots -= 1
        return self._fill(at)

    def _fill(self, at: float) -> list[Wait]:
        """Let go as many as are believed to have left the queue."""
        gone = []
        while self.running + self.guessed < self.slots and self._index(self.front) < len(self.line):
            gone.append(self._let_go(at))
            self.moved = max(self.moved, at)
        return gone

    def ended(self, wait: Wait, now: float) -> None:
        """Note that a wait that was running has ended."""
        self._forget_run(wait)
        wait.ended = now

    def move(self, wait: Wait, submitted: float) -> None:
        """Move a wait to where its task's time of submission puts it."""
        was_in_line = self._remove(wait)
        wait.place = (submitted, wait.place[1])
        if was_in_line:
            self._put(wait)

    def _forget_run(self, wait: Wait) -> None:
        if wait.ended is not None:
            return
        if wait.began is not None:
            self.running -= 1
        elif wait.guess is not None:
            self.guessed -= 1

    def _let_go(self, at: float) -> Wait:
        first = self.line[self._index(self.front)]
        self._remove(first)
        first.guess = max(at, first.place[0], first.queued or -math.inf)
        self.guessed += 1
        return first

    def _put(self, wait: Wait) -> None:
        """Put a wait into the line, if it is not in it."""
        index = self._index(wait.place)
        if index == len(self.line) or self.line[index] is not wait:
            self.line.insert(index, wait)

    def _remove(self, wait: Wait) -> bool:
        """Take a wait out of the line, and return whether it was in it."""
        index = self._index(wait.place)
        if index == len(self.line) or self.line[index] is not wait:
            return False
        del self.line[index]
        if self._index(self.front) == len(self.line):
            self.front = _NOWHERE
        return True

    def _pace(self, times: RunTimes) -> float:
        """Return how many of our tasks are expected to leave the queue in a second."""
        span = max(self.starts) - min(self.starts) if self.starts else 0.0
        return (SLOTS + len(self.starts)) / (times.median_s + span)

    def _index(self, place: tuple[float, int]) -> int:
        return bisect.bisect_left(self.line, place, key=_place)
