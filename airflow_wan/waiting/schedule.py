"""Decides which wait is read next, and when: the one whose expected unnoticed time is worth a read first.

Nothing here reads a clock or a socket. One `ReadSchedule` serves the waits of one gateway account in one process. How
many reads a second the account allows is the caller's matter: it asks for the next read when it may send one. While
more waits are due than that, the one that has been worth a read for longest goes first. In simulations of 1,000 tasks
that end together no order did better, neither by the expected unnoticed time nor by the chance that a task has ended.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import ListedTask, TaskStatus
from airflow_wan.waiting.durations import LONGEST_S, Durations
from airflow_wan.waiting.gateway_queue import GatewayQueue, PlaceInQueue, Wait

if TYPE_CHECKING:
    from collections.abc import Hashable

    from airflow_wan.api.tasks import WanTask
    from airflow_wan.waiting.durations import VideoKind

READ_COST_S = 1.6
"""What a read costs, in seconds for which a finished video may lie unnoticed: the one figure that trades reads for lag.

Reads a video fall with its square root, and the lag grows with it. It holds for tasks that take, and have
run for, up to `TYPICAL_S`; for slower ones it is less in proportion, so that the lag stays about the same.
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

_ENDED = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED)

_STEP_S = 5.0
"""Seconds by which a clock may seem to go back without having been set back."""

_MOST_BEHIND_S = 86_400.0
"""Most seconds by which a gateway's clock, or the time zone that it writes, is taken to differ from ours."""

_FIRST_REREAD_S = 5.0
"""Seconds until a task that has ended is read again, for example because its file's URL was missing."""

_LONGEST_REREAD_S = 60.0
"""Seconds to which the time between such reads grows."""

_RECONSIDERED = 32
"""Waits that are looked at again at most for one read."""

_SOON_S = 0.01
"""Seconds until the next of them is looked at again."""


class ReadSchedule:
    """The waits of one gateway account in one process, and which of them is worth reading next.

    The caller's loop: ask `next_read`; wait until its time and until the account's limit allows a read; tell `reading`;
    send it; tell `saw` of an answer that describes the task, and `hold` of one that does not. Rows of a list are told
    with `saw`, too. When a wait is over, `leave`.

    :param durations: what is known of how long videos take; it may be shared by several schedules.
    """

    def __init__(self, durations: Durations | None = None) -> None:
        self._durations = durations or Durations()
        self._waits: dict[Hashable, Wait] = {}
        self._queues: dict[str | None, GatewayQueue] = {}
        self._heap: list[tuple[float, int, Wait]] = []
        self._numbers = count()
        self._now = -math.inf
        self._set_back_s = 0.0
        self._gateway_behind_s = 0.0

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
        queue = self._queues.setdefault(kind.model, GatewayQueue())
        interval = poll_interval if poll_interval is not None and 0 < poll_interval < math.inf else None
        wait = Wait(
            wait_id,
            queue,
            times,
            place=(started, next(self._numbers)),
            interval=interval,
            cost_s=READ_COST_S,
            joined=started,
            seen=started,
            # A wait may join again after the process that it was in has ended: what was overdue stays it.
            read=now if interval is None else max(started, now - interval),
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
        times = self._read_times(wait, task, now)
        if times.submitted is not None and times.submitted < wait.place[0] - _STEP_S:
            wait.queue.move(wait, max(times.submitted, now - LONGEST_S))
        if wait.ended is not None:
            pass  # What has ended neither queues nor runs again, whatever is told.
        elif task.status is TaskStatus.QUEUED:
            wait.queue.found_queued(wait, now)
            wait.seen = now
        elif task.status in (TaskStatus.RUNNING, TaskStatus.UNRECOGNISED):
            self._see_running(wait, times, now)
        elif task.status in _ENDED:
            self._see_end(wait, times, now, canceled=task.status is TaskStatus.CANCELED)
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
        return PlaceInQueue(ahead, wait.queue.running + wait.queue.guessed, starts_at - self._set_back_s)

    def _tick(self, now: float) -> float:
        """Return the time by the schedule's own clock, which stands still when the caller's is set back."""
        if math.isfinite(now):
            now += self._set_back_s
            if now < self._now - _STEP_S:
                self._set_back_s += self._now - now
                self._gateway_behind_s += self._now - now
            self._now = max(self._now, now)
        return self._now

    def _start(self, wait: Wait) -> float:
        """Return when a task is known, believed or expected to have left, or to leave, the queue."""
        if wait.began is not None:
            return wait.began
        if wait.guess is not None:
            return wait.guess
        ahead = wait.queue.ahead_of(wait)
        return wait.place[0] if ahead is None else wait.queue.starts_at(wait, ahead)

    def _due(self, wait: Wait) -> float:
        """Return when a wait is worth a read."""
        if wait.ended is not None:
            due = wait.read + min(max(_FIRST_REREAD_S, (wait.read - wait.ended) / 2), _LONGEST_REREAD_S)
        elif wait.interval is not None:
            due = wait.read + wait.interval
        else:
            start = self._start(wait)
            seen_s = max(wait.seen - start, 0.0)
            cost_s = wait.cost_s * TYPICAL_S / max(TYPICAL_S, wait.times.median_s, seen_s)
            due = start + wait.times.age_worth(seen_s, cost_s)
            longest = FIRST_READ_S if wait.early else LONGEST_UNREAD_S
            due = min(max(due, wait.read + SHORTEST_INTERVAL_S), wait.read + longest)
        return max(due, wait.held, wait.busy)

    def _plan(self, wait: Wait) -> None:
        """Look at a wait again when it may be due, or before."""
        due = self._due(wait)
        if due >= wait.due:
            return
        wait.due = due
        heapq.heappush(self._heap, (due, wait.place[1], wait))
        if len(self._heap) > 2 * len(self._waits) + 64:
            self._heap = [(one.due, one.place[1], one) for one in self._waits.values()]
            heapq.heapify(self._heap)

    def _top(self) -> Wait | None:
        """Return the wait that is due first, after the entries in front of it that are no longer true."""
        while self._heap:
            due, _, wait = self._heap[0]
            if due == wait.due:
                return wait
            heapq.heappop(self._heap)
        return None

    def _see_running(self, wait: Wait, times: _Times, now: float) -> None:
        if wait.began is None:
            for gone in wait.queue.found_running(wait, self._began(wait, times, now)):
                self._plan(gone)
        age_s = now - (wait.began or now)
        wait.times.still_running(wait.counted_s, age_s)
        wait.counted_s = max(wait.counted_s, age_s)
        wait.seen = now

    def _see_end(self, wait: Wait, times: _Times, now: float, *, canceled: bool) -> None:
        knows_start = wait.began is not None or wait.queued is None or times.started is not None
        if wait.began is None:
            for gone in wait.queue.found_running(wait, self._began(wait, times, now)):
                self._plan(gone)
        began = now if wait.began is None else wait.began
        seen = max(wait.seen, began)
        if times.ended is None:
            # Somewhere between the last two reads: where as many tasks end before as after.
            share = wait.times.share_ended(now - began, seen_s=seen - began) / 2
            end = began + wait.times.quantile_s(share, seen_s=seen - began)
        else:
            end = times.ended if times.started is None else began + (times.ended - times.started)
        end = min(max(end, seen), now)
        if knows_start and not canceled:
            wait.times.learn(end - began, counted_s=wait.counted_s)
        wait.queue.ended(wait, now)
        for gone in wait.queue.made_room(end, exact=times.ended is not None):
            self._plan(gone)

    def _began(self, wait: Wait, times: _Times, now: float) -> float:
        """Return when a task left the queue, as well as that can be told."""
        began = self._start(wait) if times.started is None else times.started
        if wait.queued is not None and began < wait.queued - _STEP_S:
            began = (wait.queued + now) / 2
        return min(max(began, now - LONGEST_S), now)

    def _read_times(self, wait: Wait, task: WanTask | ListedTask, now: float) -> _Times:
        """Return a task's times by the schedule's own clock, and learn how far the gateway's is from it."""
        times = _times_of(task)
        # Nothing that a task tells lies in the future, nor its submission after the wait for it began; and a task that
        # was seen unfinished ended later than that.
        latest = [
            at - time for at, time in ((wait.joined, times.submitted), (now, times.started), (now, times.ended)) if time
        ]
        self._gateway_behind_s = min(self._gateway_behind_s, *latest) if latest else self._gateway_behind_s
        if times.ended and (wait.began is not None or wait.queued is not None):
            self._gateway_behind_s = max(self._gateway_behind_s, wait.seen - times.ended)
        self._gateway_behind_s = min(max(self._gateway_behind_s, -_MOST_BEHIND_S), _MOST_BEHIND_S)
        return times.later(self._gateway_behind_s)


@dataclass(frozen=True, slots=True)
class _Times:
    """When a task was submitted, started and ended, as Unix times in seconds."""

    submitted: float | None
    started: float | None
    ended: float | None

    def later(self, by_s: float) -> _Times:
        return _Times(*(None if time is None else time + by_s for time in (self.submitted, self.started, self.ended)))


def _times_of(task: WanTask | ListedTask) -> _Times:
    """Return a task's times by the gateway's clock."""
    if isinstance(task, ListedTask):
        return _Times(*map(_finite, (task.created_at, task.started_at, task.ended_at)))
    moments = (task.submitted_at, task.started_at, task.ended_at)
    return _Times(*(None if moment is None else moment.timestamp() for moment in moments))


def _finite(time: float | None) -> float | None:
    return time if time is not None and math.isfinite(time) else None
