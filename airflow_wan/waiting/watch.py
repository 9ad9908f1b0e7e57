"""Decides what each poll of a task means for the wait. Nothing here reads a clock or a socket.

The sensor, the wait on a worker and the trigger all give what they got to a `VideoWatch` and follow its decision. When
to poll next is the matter of `airflow_wan.waiting.schedule`; here is how long to stay away after a poll that failed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_wan.api.failures import blames_the_request
from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.exceptions import (
    AuthenticationFailed,
    VideoTaskFailed,
    VideoTaskLost,
    VideoWaitTimeout,
    WanConnectionError,
    WanError,
)
from airflow_wan.net.host_answers import LONGEST_OBEYED_S
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.patience import Patience

if TYPE_CHECKING:
    from airflow_wan.waiting.gateway_queue import PlaceInQueue

DEFAULT_POLL_INTERVAL_S = 15.0
"""Seconds from which the pauses after failed polls grow, unless the user sets an interval between polls. Alibaba
recommends 15 s for video; APIYI 5 to 10 s, and forbids less than 3 s."""

DEFAULT_TIMEOUT_S = 3 * 3600.0 + 15 * 60
"""Seconds that a task may take once it has left the queue. The gateways give it up after 3 h (Alibaba's
`InternalError.Timeout`); the 15 minutes are for clocks and reads that lag behind."""

LONGEST_BACKOFF_S = 120.0
"""Seconds to which the interval between two polls grows while polls fail and the gateway sends no Retry-After."""

LONGEST_REFUSED_S = 600.0
"""Seconds to which the interval between two polls grows while the gateway refuses to tell: it refuses the key, or does
not know the task. The video is paid for, so no refusal ends the wait: a balance that this very video used up, a wrong
key or a fault of the gateway may pass."""

MAX_UNCONNECTED = 3
"""Times in a row that a process cannot use its own connection before it hands the wait back: another process may."""

NOTHING_KNOWN = VideoKind()
"""The kind of a video of which nothing is known."""

_JITTER = 0.1
"""Greatest share by which a delay is lengthened at random, so that tasks submitted together are not polled together."""


class Verdict(StrEnum):
    """State of the wait."""

    WAIT = "wait"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do after a poll.

    :param verdict: go on waiting, or how the wait ended.
    :param delay: least seconds until the next poll, after one that failed or was refused; 0 otherwise.
    :param notes: lines for the log: changes of the task's state, and when polls begin to fail or to succeed again.
    :param error: why the wait failed.
    """

    verdict: Verdict
    delay: float = 0.0
    notes: tuple[str, ...] = ()
    error: WanError | None = None


@dataclass(slots=True)
class VideoWatch:
    """The wait for one task: it gets the result of each poll, and decides what to do and what to log.

    :param wan_task_id: the task.
    :param started: when the wait began, as a Unix time in seconds.
    :param deadline: when to give up a task that has not been queued, as a Unix time in seconds; see `Patience`.
    :param poll_interval: seconds between two polls, if the user fixed them.
    :param queue_deadline: until when the task may be queued, as a Unix time in seconds; by default `deadline`.
    :param latest: when to give up in any case, as a Unix time in seconds; by default `deadline`.
    :param sees_all: whether this watch gets all reads of the wait.
    :param kind: what the task makes, as far as it is known.
    :param seen: when each status was first seen, as a Unix time in seconds.
    """

    wan_task_id: str
    started: float
    deadline: float
    poll_interval: float | None = None
    queue_deadline: float | None = None
    latest: float | None = None
    sees_all: bool = True
    kind: VideoKind = NOTHING_KNOWN
    seen: dict[str, float] = field(default_factory=dict)
    refusals: int = 0
    _unconnected: int = field(default=0, repr=False)
    _last_refusal: str = field(default="", repr=False)
    _failed_polls: int = field(default=0, repr=False)
    _last_note: str = field(default="", repr=False)
    _told_ahead: int | None = field(default=None, repr=False)
    patience: Patience = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Work out when to give up."""
        latest = self.deadline if self.latest is None else self.latest
        queue_deadline = self.deadline if self.queue_deadline is None else self.queue_deadline
        self.patience = Patience(self.started, self.deadline, queue_deadline, latest, self.sees_all)

    @property
    def gives_up_at(self) -> float:
        """When to give up, by what was seen last, as a Unix time in seconds."""
        return self.patience.gives_up_at

    @property
    def refused(self) -> bool:
        """Whether the last poll was refused, so that the next one should look the connection up again."""
        return bool(self.refusals or self._unconnected)

    def see_task(self, task: WanTask, now: float, place: PlaceInQueue | None = None) -> Decision:
        """Decide after a poll that returned the task.

        :param task: the task.
        :param now: the time of the poll, as a Unix time in seconds.
        :param place: where the task is believed to be in the gateway's queue, if it is known.
        """
        self.seen.setdefault(task.status.value, round(now, 3))
        self.patience.see(task, now)
        notes = self._note_recovery(now)
        if task.status is TaskStatus.UNKNOWN:
            return self._refused(_lost(task), now, notes)
        self._told()
        if task.status in (TaskStatus.FAILED, TaskStatus.CANCELED):
            return Decision(Verdict.FAILED, error=_failed(task), notes=notes)
        if task.status is TaskStatus.SUCCEEDED and task.video_url:
            return self._succeeded(now, notes)
        return self._wait(0.0, now, (*notes, *self._state_notes(task, now, place)))

    def see_success_in_list(self, now: float) -> Decision:
        """Decide after a row of the gateway's list said that the task has succeeded: the worker reads the task itself.

        :param now: the time of the list, as a Unix time in seconds.
        """
        self.seen.setdefault(TaskStatus.SUCCEEDED.value, round(now, 3))
        self._told()
        return self._succeeded(now, self._note_recovery(now))

    def see_no_answer(self, now: float) -> Decision:
        """Decide when nothing could be asked for so long that it is too late to ask.

        :param now: the time, as a Unix time in seconds.
        """
        self.patience.look(now)
        return self._wait(0.0, now, ())

    def see_error(self, error: WanError, now: float) -> Decision:
        """Decide after a poll that failed. The gateway's errors end the wait only at the deadline.

        A process that cannot use its own connection, several times in a row, hands the wait back: a retry may run
        where the connection can be used.

        :param error: the error.
        :param now: the time of the poll, as a Unix time in seconds.
        """
        self.patience.look(now)
        if isinstance(error, WanConnectionError):
            return self._without_connection(error, now)
        if isinstance(error, (AuthenticationFailed, VideoTaskLost)):
            return self._refused(error, now, ())
        self._told()
        self._failed_polls += 1
        notes = (
            (f"polling failed, trying again until the deadline: {error.summary}",) if self._failed_polls == 1 else ()
        )
        if error.retry_after is not None:
            return self._wait(max(self._interval_s, min(error.retry_after, LONGEST_OBEYED_S)), now, notes)
        return self._wait(self._backoff_s(self._failed_polls, LONGEST_BACKOFF_S), now, notes)

    @property
    def _interval_s(self) -> float:
        return DEFAULT_POLL_INTERVAL_S if self.poll_interval is None else self.poll_interval

    def _backoff_s(self, failed: int, longest_s: float) -> float:
        return max(self._interval_s, min(self._interval_s * 2.0 ** min(failed, 10), longest_s))

    def _succeeded(self, now: float, notes: tuple[str, ...]) -> Decision:
        return Decision(Verdict.SUCCEEDED, notes=(*notes, f"done after {now - self.started:.0f} s"))

    def _refused(self, error: WanError, now: float, notes: tuple[str, ...]) -> Decision:
        self.refusals += 1
        self._unconnected = 0
        self._last_refusal = str(error)
        notes = (*notes, f"refusal {self.refusals} in a row, asking again until the deadline, but less often: {error}")
        return self._wait(self._backoff_s(self.refusals, LONGEST_REFUSED_S), now, notes)

    def _without_connection(self, error: WanConnectionError, now: float) -> Decision:
        self._unconnected += 1
        if self._unconnected >= MAX_UNCONNECTED:
            return Decision(Verdict.FAILED, error=error)
        note = f"the connection cannot be used, attempt {self._unconnected} of {MAX_UNCONNECTED}: {error}"
        return self._wait(self._interval_s, now, (note,))

    def _told(self) -> None:
        """Begin to count again: the gateway did not refuse to tell."""
        self.refusals = self._unconnected = 0
        self._last_refusal = ""

    def _wait(self, delay: float, now: float, notes: tuple[str, ...]) -> Decision:
        if now >= self.gives_up_at:
            refused = f" The gateway refused to tell, {self.refusals} time(s) in a row at the end: {self._last_refusal}"
            error = VideoWaitTimeout(
                f"No result {self.patience}; last seen: {self._last_note or 'nothing'}."
                f"{refused if self.refusals else ''}",
                wan_task_id=self.wan_task_id,
            )
            return Decision(Verdict.FAILED, error=error, notes=notes)
        return Decision(Verdict.WAIT, delay=min(_with_jitter(delay), self.gives_up_at - now), notes=notes)

    def _state_notes(self, task: WanTask, now: float, place: PlaceInQueue | None) -> tuple[str, ...]:
        """Return what is new of the task's state; its place in the queue only when it has changed much."""
        note = _state_note(task)
        is_new = note != self._last_note
        self._last_note = note
        if task.status is not TaskStatus.QUEUED or place is None:
            self._told_ahead = None
        elif self._told_ahead is None or not self._told_ahead / 2 < place.ahead + 1 < self._told_ahead * 2:
            self._told_ahead = place.ahead + 1
            return (f"{note}; {_place_note(place, self.kind.model, now)}",)
        return (note,) if is_new else ()

    def _note_recovery(self, now: float) -> tuple[str, ...]:
        if not self._failed_polls:
            return ()
        failed, self._failed_polls = self._failed_polls, 0
        return (f"the gateway answers again after {failed} failed poll(s), {now - self.started:.0f} s into the wait",)


def _with_jitter(delay: float) -> float:
    # Never shorter: the gateways set least intervals, and a Retry-After is one too.
    return delay * random.uniform(1, 1 + _JITTER)  # noqa: S311


def _state_note(task: WanTask) -> str:
    if task.status is TaskStatus.QUEUED:
        return "queued"
    if task.status is TaskStatus.RUNNING:
        return "running" if task.progress is None else f"running {task.progress} %"
    if task.status is TaskStatus.SUCCEEDED:
        return "succeeded, but the gateway has not given the file yet"
    return f"in a state this package does not know ({task.status_word!r}), still waiting"


def _place_note(place: PlaceInQueue, model: str | None, now: float) -> str:
    minutes = max(0.0, place.starts_at - now) / 60
    expected = f"in about {minutes:.0f} min" if minutes >= 1 else "within a minute"
    return (
        f"of the tasks of {model or 'its model'} that this process waits for, about {place.ahead} are before it and "
        f"{place.running} run; it is expected to start {expected}"
    )


def _failed(task: WanTask) -> VideoTaskFailed:
    return VideoTaskFailed(
        f"The Wan task ended {task.status}: {(task.message or 'the gateway gave no reason').rstrip('.')}.",
        retry_can_help=not blames_the_request(task.code),
        code=task.code,
        request_id=task.request_id,
        wan_task_id=task.wan_task_id,
    )


def _lost(task: WanTask) -> VideoTaskLost:
    return VideoTaskLost(
        f"The gateway answers {task.status_word!r} for this task{f': {task.message}' if task.message else ''}.",
        code=task.code,
        request_id=task.request_id,
        wan_task_id=task.wan_task_id,
    )
