"""Decides which wait is read next, and when: the one whose expected unnoticed time is worth a read first.

Nothing here reads a clock or a socket. One `ReadSchedule` serves the waits of one gateway account in one process. How
many reads a second the account allows is the caller's matter: it asks for the next read when it may send one. The
busier it is, the longer each read is put off, so that the reads go where they notice most.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import ListedTask, TaskStatus
from airflow_wan.waiting.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Hashable

    from airflow_wan.api.tasks import WanTask
    from airflow_wan.waiting.durations import RunTimes, VideoKind

READ_COST_S = 1.5
"""What a read costs, in seconds for which a finished video may lie unnoticed: the one figure that trades reads for lag.

Reads a video fall with its square root, and the lag grows with it. It holds for videos that take up to `TYPICAL_S` to
be made; for slower ones it is less in proportion, so that the lag stays the same. While more waits are due than the
account's limit allows to read, the cost rises for all of them.
"""

TYPICAL_S = 105.0
"""Seconds that a wan2.7 video takes to be made (the median that a user measured, see `durations`)."""

FIRST_READ_S = 8.0
"""Seconds after which the first few waits of a kind of video are read for the first time: a video that fails at once,
or runs where none takes long, is noticed soon, and a queue is found."""

EARLY_READS = 3
"""How many waits of a kind of video are read so early, before the first of the kind has ended."""

SHORTEST_INTERVAL_S = 3.0
"""Least seconds between two reads of a task, unless the user sets fewer. APIYI forbids less."""

LONGEST_UNREAD_S = 1800.0
"""Most seconds between two reads of a task, however far back in a queue it is: it may have been canceled there."""

LONGEST_HOLD_S = 3600.0
"""Longest time for which a wait is held back, in seconds."""

LONGEST_READ_S = 180.0
"""Seconds after which a read of which nothing was told is taken for lost. The client bounds its own calls."""

SLOTS = 5
"""Tasks of a model that an account runs at a time; more wait PENDING (Alibaba's rate-limit page: 5 for wan2.7 and
wan2.6). Used only until a queue's pace was seen."""

_ENDED = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED)

_STEP_S = 5.0
"""Seconds by which a clock may seem to go back without having been set back."""

_FIRST_REREAD_S = 5.0
"""Seconds until a task that has ended is read again, for example because its file's URL was missing."""

_RECONSIDERED = 32
"""Waits that are looked at again at most for one read."""

_SOON_S = 0.01
"""Seconds until the next of them is looked at again."""

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
class _Wait:
    """One wait. Times are those of the schedule's own clock, in seconds.

    :param place: what the tasks of a model are ordered by: when they were submitted, and when they joined.
    :param interval: the user's fixed time between reads, in seconds.
    :param seen: when the task was last known not to have ended.
    :param read: when it was last read, or else joined.
    :param began: when it left the queue, if known.
    :param guess: when it is believed to have left the queue, because another task made room for it.
    :param queued: when it was last seen in the queue.
    :param ended: when it was first seen to have ended.
    :param counted_s: its age up to which the durations know that it ran.
    :param early: whether its first read comes early.
    :param cost_s: what its next read costs, see `READ_COST_S`.
    :param busy: while a read is under way, when that is taken for lost.
    :param held: not to be read before.
    :param due: when to look at it next.
    """

    wait_id: Hashable
    queue: _Queue
    times: RunTimes
    place: tuple[float, int]
    interval: float | None
    seen: float
    read: float
    early: bool = False
    cost_s: float = READ_COST_S
    busy: float = -math.inf
    began: float | None = None
    guess: float | None = None
    queued: float | None = None
    ended: float | None = None
    counted_s: float = 0.0
    held: float = -math.inf
    due: float = math.inf


_NOWHERE = (math.inf, 0)


def _place(wait: _Wait) -> tuple[float, int]:
    return wait.place


@dataclass(slots=True, eq=False)
class _Queue:
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

    line: list[_Wait] = field(default_factory=list)
    front: tuple[float, int] = _NOWHERE
    front_seen: float = -math.inf
    moved: float = -math.inf
    waits: int = 0
    running: int = 0
    guessed: int = 0
    slots: int = 0
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE_STARTS))

    def join(self, wait: _Wait) -> None:
        """Add a wait."""
        self.waits += 1
        self._put(wait)

    def leave(self, wait: _Wait) -> None:
        """Forget a wait."""
        self.waits -= 1
        self._remove(wait)
        self._forget_run(wait)

    def ahead_of(self, wait: _Wait) -> int | None:
        """Return how many waits are before this one in the queue; None if nothing tells that it is in the queue."""
        if wait.place < self.front or wait.began is not None or wait.guess is not None:
            return None
        return self._index(wait.place) - self._index(self.front)

    def starts_at(self, wait: _Wait, ahead: int) -> float:
        """Return when a wait in the queue is expected to leave it."""
        return self.moved + (ahead + 1) / self._pace(wait.times)

    def found_queued(self, wait: _Wait, now: float) -> None:
        """Note that a wait was seen in the queue: then so are all that came after it."""
        self._forget_run(wait)
        wait.began = wait.guess = None
        wait.queued = now
        self._put(wait)
        if wait.place <= self.line[min(self._index(self.front), len(self.line) - 1)].place:
            self.front, self.front_seen, self.moved = wait.place, now, now
            self.slots = self.running + self.guessed

    def found_running(self, wait: _Wait, began: float) -> list[_Wait]:
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

    def made_room(self, at: float) -> list[_Wait]:
        """Note that a task stopped running; return the waits that are believed to have left the queue for it."""
        if at < self.front_seen:
            # A task of another process took the room: the first of ours was still in the queue afterwards.
            self.slots -= 1
        return self._fill(at)

    def _fill(self, at: float) -> list[_Wait]:
        """Let go as many as are believed to have left the queue."""
        gone = []
        while self.running + self.guessed < self.slots and self._index(self.front) < len(self.line):
            gone.append(self._let_go(at))
            self.moved = max(self.moved, at)
        return gone

    def ended(self, wait: _Wait, now: float) -> None:
        """Note that a wait that was running has ended."""
        self._forget_run(wait)
        wait.ended = now

    def _forget_run(self, wait: _Wait) -> None:
        if wait.ended is not None:
            return
        if wait.began is not None:
            self.running -= 1
        elif wait.guess is not None:
            self.guessed -= 1

    def _let_go(self, at: float) -> _Wait:
        first = self.line[self._index(self.front)]
        self._remove(first)
        first.guess = max(at, first.place[0], first.queued or -math.inf)
        self.guessed += 1
        return first

    def _put(self, wait: _Wait) -> None:
        """Put a wait into the line, if it is not in it."""
        index = self._index(wait.place)
        if index == len(self.line) or self.line[index] is not wait:
            self.line.insert(index, wait)

    def _remove(self, wait: _Wait) -> None:
        """Take a wait out of the line, if it is in it."""
        index = self._index(wait.place)
        if index < len(self.line) and self.line[index] is wait:
            del self.line[index]
        if self._index(self.front) == len(self.line):
            self.front = _NOWHERE

    def _pace(self, times: RunTimes) -> float:
        """Return how many of our tasks are expected to leave the queue in a second."""
        span = max(self.starts) - min(self.starts) if self.starts else 0.0
        return (SLOTS + len(self.starts)) / (times.median_s + span)

    def _index(self, place: tuple[float, int]) -> int:
        return bisect.bisect_left(self.line, place, key=_place)


class ReadSchedule:
    """The waits of one gateway account in one process, and which of them is worth reading next.

    The caller's loop: ask `next_read`; wait until its time and until the account's limit allows a read; tell `reading`;
    send it; tell `saw` of an answer that describes the task, and `hold` of one that does not. Rows of a list are told
    with `saw`, too. When a wait is over, `leave`.

    :param durations: what is known of how long videos take; it may be shared by several schedules.
    """

    def __init__(self, durations: Durations | None = None) -> None:
        self._durations = durations or Durations()
        self._waits: dict[Hashable, _Wait] = {}
        self._queues: dict[str | None, _Queue] = {}
        self._heap: list[tuple[float, int, _Wait]] = []
        self._numbers = count()
        self._now = -math.inf
        self._set_back_s = 0.0

    def __len__(self) -> int:
        """Return how many waits there are."""
        return len(self._waits)

    def join(
        self,
        wait_id: Hashable,
        kind: VideoKind,
        *,
        started: float,
        now: float,
        poll_interval: float | None = None,
    ) -> None:
        """Add a wait; one of the same id is replaced.

        :param wait_id: what the wait is called here.
        :param kind: what the task makes.
        :param started: when the task was submitted, or else when the wait began, as a Unix time in seconds.
        :param now: the time, as a Unix time in seconds.
        :param poll_interval: seconds between two reads that the user fixed; by default the schedule decides.
        """
        now = self._tick(now)
        self.leave(wait_id)
        started = started + self._set_back_s
        started = min(started, now) if math.isfinite(started) else now
        times = self._durations.of(kind)
        queue = self._queues.setdefault(kind.model, _Queue())
        wait = _Wait(
            wait_id,
            queue,
            times,
            place=(started, next(self._numbers)),
            interval=poll_interval,
            seen=started,
            read=now,
            early=not times.videos and queue.waits < EARLY_READS,
        )
        self._waits[wait_id] = wait
        queue.join(wait)
        self._plan(wait)

    def reading(self, wait_id: Hashable, now: float) -> None:
        """Note that a read is under way: the wait is not offered again before `saw` or `hold`."""
        now = self._tick(now)
        wait = self._waits.get(wait_id)
        if wait is None:
            return
        wait.busy = now + LONGEST_READ_S

    def saw(self, wait_id: Hashable, task: WanTask | ListedTask, now: float, *, cost_s: float = READ_COST_S) -> None:
        """Take in what a read, or a row of a list, tells of a task.

        :param task: its status and times. Times that cannot be are ignored.
        :param now: when the answer came, as a Unix time in seconds.
        :param cost_s: what the next read of it costs: less than `READ_COST_S` if one call reads many waits.
        """
        now = self._tick(now)
        wait = self._waits.get(wait_id)
        if wait is None:
            return
        known = (wait.began, wait.ended)
        if task.status is TaskStatus.QUEUED:
            wait.queue.found_queued(wait, now)
            wait.seen = now
        elif task.status in (TaskStatus.RUNNING, TaskStatus.UNRECOGNISED):
            self._see_running(wait, task, now)
        elif task.status in _ENDED and wait.ended is None:
            self._see_end(wait, task, now)
        was_early = wait.early or wait.busy > now
        wait.read = now
        wait.cost_s = cost_s
        wait.busy = -math.inf
        wait.early = False
        if was_early or known != (wait.began, wait.ended):
            self._plan(wait)
        # Else the next read is due later than before, which is found out once the wait is due.

    def hold(self, wait_id: Hashable, until: float) -> None:
        """Do not offer a wait before a time, after a read that failed or was refused.

        :param until: a Unix time in seconds, at most `LONGEST_HOLD_S` from now.
        """
        wait = self._waits.get(wait_id)
        if wait is None:
            return
        until += self._set_back_s
        wait.held = self._now if math.isnan(until) else min(until, self._now + LONGEST_HOLD_S)
        wait.read = self._now
        wait.busy = -math.inf
        self._plan(wait)

    def leave(self, wait_id: Hashable) -> None:
        """Forget a wait."""
        wait = self._waits.pop(wait_id, None)
        if wait is None:
            return
        wait.due = math.nan  # Equal to no entry of the heap.
        queue = wait.queue
        queue.leave(wait)
        for gone in queue.made_room(self._now):
            self._plan(gone)
        if not queue.waits:
            self._queues = {model: other for model, other in self._queues.items() if other is not queue}

    def next_read(self, now: float) -> tuple[Hashable, float] | None:
        """Return which wait to read next, and the earliest time when that is worth it; None if there is none.

        If the time lies in the future, ask again when it has come, or when another wait has joined.
        """
        now = self._tick(now)
        for _ in range(_RECONSIDERED):
            wait = self._top()
            if wait is None:
                return None
            if wait.due > now:
                return wait.wait_id, wait.due - self._set_back_s
            due = self._due(wait)
            if due == wait.due:
                return wait.wait_id, due - self._set_back_s
            wait.due = due
            heapq.heapreplace(self._heap, (due, wait.place[1], wait))
        # So many waits have turned out not to be due yet that the others must be looked at later.
        wait = self._top()
        return None if wait is None else (wait.wait_id, max(wait.due, now + _SOON_S) - self._set_back_s)

    def place_in_queue(self, wait_id: Hashable) -> PlaceInQueue | None:
        """Return where a task is believed to be in the gateway's queue; None if nothing tells that it is in it."""
        wait = self._waits.get(wait_id)
        ahead = wait.queue.ahead_of(wait) if wait is not None else None
        if wait is None or ahead is None:
            return None
        starts_at = max(wait.queue.starts_at(wait, ahead), self._now)
        return PlaceInQueue(ahead, wait.queue.running, starts_at - self._set_back_s)

    def _tick(self, now: float) -> float:
        """Return the time by the schedule's own clock, which stands still when the caller's is set back."""
        if math.isfinite(now):
            now += self._set_back_s
            if now < self._now - _STEP_S:
                self._set_back_s += self._now - now
            self._now = max(self._now, now)
        return self._now

    def _start(self, wait: _Wait) -> float:
        """Return when a task is known, believed or expected to have left, or to leave, the queue."""
        if wait.began is not None:
            return wait.began
        if wait.guess is not None:
            return wait.guess
        ahead = wait.queue.ahead_of(wait)
        return wait.place[0] if ahead is None else wait.queue.starts_at(wait, ahead)

    def _due(self, wait: _Wait) -> float:
        """Return when a wait is worth a read."""
        if wait.ended is not None:
            due = wait.read + max(_FIRST_REREAD_S, (wait.read - wait.ended) / 2)
        elif wait.interval is not None:
            due = wait.read + wait.interval
        else:
            start = self._start(wait)
            seen_s = max(wait.seen - start, 0.0)
            cost_s = wait.cost_s * TYPICAL_S / max(TYPICAL_S, wait.times.median_s, seen_s / 2)
            due = start + wait.times.age_worth(seen_s, cost_s)
            longest = FIRST_READ_S if wait.early else LONGEST_UNREAD_S
            due = min(max(due, wait.read + SHORTEST_INTERVAL_S), wait.read + longest)
        return max(due, wait.held, wait.busy)

    def _plan(self, wait: _Wait) -> None:
        """Look at a wait again when it may be due, or before."""
        due = self._due(wait)
        if due >= wait.due:
            return
        wait.due = due
        heapq.heappush(self._heap, (due, wait.place[1], wait))
        if len(self._heap) > 2 * len(self._waits) + 64:
            self._heap = [(one.due, one.place[1], one) for one in self._waits.values()]
            heapq.heapify(self._heap)

    def _top(self) -> _Wait | None:
        """Return the wait that is due first, after the entries in front of it that are no longer true."""
        while self._heap:
            due, _, wait = self._heap[0]
            if due == wait.due:
                return wait
            heapq.heappop(self._heap)
        return None

    def _see_running(self, wait: _Wait, task: WanTask | ListedTask, now: float) -> None:
        if wait.began is None:
            for gone in wait.queue.found_running(wait, self._began(wait, task, now)):
                self._plan(gone)
        age_s = now - (wait.began or now)
        wait.times.still_running(wait.counted_s, age_s)
        wait.counted_s = max(wait.counted_s, age_s)
        wait.seen = now

    def _see_end(self, wait: _Wait, task: WanTask | ListedTask, now: float) -> None:
        knows_start = wait.began is not None or wait.queued is None or _times_of(task)[1] is not None
        if wait.began is None:
            for gone in wait.queue.found_running(wait, self._began(wait, task, now)):
                self._plan(gone)
        began = now if wait.began is None else wait.began
        seen = max(wait.seen, began)
        _, started_at, ended_at = _times_of(task)
        if ended_at is None:
            # Somewhere between the last two reads: where as many tasks end before as after.
            share = wait.times.share_ended(now - began, seen_s=seen - began) / 2
            end = began + wait.times.quantile_s(share, seen_s=seen - began)
        else:
            end = ended_at + self._set_back_s if started_at is None else began + (ended_at - started_at)
        end = min(max(end, seen), now)
        if knows_start and task.status is not TaskStatus.CANCELED:
            wait.times.learn(end - began, counted_s=wait.counted_s)
        wait.queue.ended(wait, now)
        for gone in wait.queue.made_room(end):
            self._plan(gone)

    def _began(self, wait: _Wait, task: WanTask | ListedTask, now: float) -> float:
        """Return when a task left the queue, as well as that can be told."""
        submitted_at, started_at, _ = _times_of(task)
        submitted = wait.place[0]
        if started_at is None:
            began = submitted if wait.guess is None else wait.guess
        elif submitted_at is not None and submitted_at + self._set_back_s > submitted + _STEP_S:
            # The gateway's clock is ahead of ours: only differences of its times count.
            began = submitted + (started_at - submitted_at)
        else:
            began = started_at + self._set_back_s
        if wait.queued is not None and began < wait.queued - _STEP_S:
            began = (wait.queued + now) / 2
        return min(max(began, submitted - _STEP_S), now)


def _times_of(task: WanTask | ListedTask) -> tuple[float | None, float | None, float | None]:
    """Return when a task was submitted, started and ended by the gateway's clock, as Unix times in seconds."""
    if isinstance(task, ListedTask):
        return task.created_at, task.started_at, task.ended_at
    submitted_at, started_at, ended_at = (
        None if moment is None else moment.timestamp() for moment in (task.submitted_at, task.started_at, task.ended_at)
    )
    return submitted_at, started_at, ended_at
