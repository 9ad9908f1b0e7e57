"""Simulates a gateway's tasks and a process that waits for them by single reads, without real time or sockets."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.schedule import ReadSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPOCH = 1_775_000_000.0
"""Unix time at which simulations begin."""

WAN27 = VideoKind("wan2.7-t2v", "720P", 5)
WAN30 = VideoKind("wan3.0-video", "720P", 5)


def published(draw: random.Random) -> float:
    """wan2.7 at 720P as a user measured it: 83 to 253 s, 105 s in the median."""
    return min(83 + draw.lognormvariate(math.log(22), 0.9), 253)


def two_humped(draw: random.Random) -> float:
    """Within the published range, but three in ten take twice as long as the others, as if on slower machines."""
    return draw.gauss(98, 6) if draw.random() < 0.7 else draw.gauss(190, 10)


def minutes(draw: random.Random) -> float:
    """wan3.0: around the 12 minutes of Alibaba's own sample."""
    return max(draw.gauss(720, 80), 300)


@dataclass(frozen=True, slots=True)
class Job:
    """A task at the simulated gateway; times in seconds since the beginning."""

    submitted: float
    started: float
    ended: float

    def read(self, wait_id: str, now: float, *, tells_times: bool = True, ahead_s: float = 0.0) -> WanTask:
        """Return what the gateway answers at a time.

        :param ahead_s: by how much its clock is ahead of ours.
        """
        if now >= self.ended:
            status = TaskStatus.SUCCEEDED
        else:
            status = TaskStatus.RUNNING if now >= self.started else TaskStatus.QUEUED
        return WanTask(
            wait_id,
            status,
            status.value,
            submitted_at=_moment(self.submitted + ahead_s) if tells_times else None,
            started_at=_moment(self.started + ahead_s) if tells_times and now >= self.started else None,
            ended_at=_moment(self.ended + ahead_s) if tells_times and now >= self.ended else None,
        )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + at, UTC)


def jobs(
    count: int,
    takes: Callable[[random.Random], float],
    *,
    seed: int,
    per_s: float = 5.0,
    slots: int | None = None,
    others_every: int = 0,
    gap_s: float = 0.0,
) -> list[Job]:
    """Return tasks that are submitted at a rate, first come, first served.

    :param slots: tasks that run at a time; by default all of them.
    :param others_every: after so many tasks comes one of another process, which takes a slot, too.
    :param gap_s: most seconds for which a slot stays free before the next task gets it.
    """
    draw = random.Random(seed)
    free = [0.0] * slots if slots else []
    ours = []
    for number in range(count + (count // others_every if others_every else 0)):
        submitted = number / per_s
        started = submitted
        if slots:
            started = max(submitted, heapq.heappop(free)) + draw.uniform(0, gap_s)
        ended = started + takes(draw)
        if slots:
            heapq.heappush(free, ended)
        if not others_every or number % (others_every + 1) != others_every:
            ours.append(Job(submitted, started, ended))
    return ours


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a simulated process fared."""

    reads: int
    lags_s: list[float]
    longest_unread_s: float

    @property
    def reads_a_video(self) -> float:
        return self.reads / len(self.lags_s)

    @property
    def mean_lag_s(self) -> float:
        return sum(self.lags_s) / len(self.lags_s)

    @property
    def p95_lag_s(self) -> float:
        return sorted(self.lags_s)[int(0.95 * (len(self.lags_s) - 1))]


def simulate(
    todo: Sequence[Job],
    schedule: ReadSchedule | None = None,
    *,
    kind: VideoKind = WAN27,
    poll_interval: float | None = None,
    reads_per_s: float = 16.0,
    tells_times: bool = True,
    ahead_s: float = 0.0,
) -> Outcome:
    """Wait for tasks by single reads, as fast as an account allows at most."""
    schedule = ReadSchedule() if schedule is None else schedule
    joins = sorted(((job.submitted, str(number), job) for number, job in enumerate(todo)), reverse=True)
    waiting: dict[object, Job] = {}
    last_read: dict[object, float] = {}
    reads, lags, longest = 0, [], 0.0
    now = allowed = 0.0
    while joins or waiting:
        offer = schedule.next_read(EPOCH + now)
        at = math.inf if offer is None else max(offer[1] - EPOCH, allowed, now)
        if joins and joins[-1][0] <= at:
            now, wait_id, job = joins.pop()
            schedule.join(wait_id, kind, started=EPOCH + now, now=EPOCH + now, poll_interval=poll_interval)
            waiting[wait_id], last_read[wait_id] = job, now
            continue
        assert offer is not None
        if at > now:
            now = at
            continue
        wait_id, job = offer[0], waiting[offer[0]]
        schedule.reading(wait_id, EPOCH + now)
        reads += 1
        longest = max(longest, now - last_read[wait_id])
        last_read[wait_id] = now
        allowed = now + 1 / reads_per_s
        schedule.saw(wait_id, job.read(str(wait_id), now, tells_times=tells_times, ahead_s=ahead_s), EPOCH + now)
        if now >= job.ended:
            schedule.leave(wait_id)
            lags.append(now - job.ended)
            del waiting[wait_id]
    return Outcome(reads, lags, longest)
