"""When to ask next, and what an answer, or a failed ask, means for the wait. Nothing here reads a clock or a socket.

Poke mode, the synchronous wait and the trigger all put what they saw to the same `VideoWatch` and do as it says.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum

from airflow_wan.api.failures import blames_the_request
from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.exceptions import AuthenticationFailed, VideoTaskFailed, VideoTaskLost, VideoWaitTimeout, WanError

DEFAULT_POLL_INTERVAL = 15.0
"""s. Alibaba's advice for video; APIYI asks for 5 to 10 s and never under 3 s."""

DEFAULT_TIMEOUT = 3 * 3600.0 + 15 * 60
"""s. The gateways give a task up after 3 h (Alibaba's `InternalError.Timeout`); the rest is for their own queue."""

LONGEST_INTERVAL = 60.0
"""s between two healthy polls, however long the job takes."""

LONGEST_BACKOFF = 120.0
"""s between two polls while the gateway is in trouble and says nothing of how long to wait."""

LONGEST_RETRY_AFTER = 600.0
"""s. A gateway that asks for more is asked again after this."""

STRIKES = 3
"""Definite refusals in a row that end the wait: one may be a gateway's slip, and a lost paid video is dear."""

_JITTER = 0.1
"""Share by which a delay is at most lengthened, so that tasks submitted together do not ask together."""


class Verdict(StrEnum):
    """What the wait has come to."""

    WAIT = "wait"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    :param verdict: go on waiting, or how the wait ended.
    :param delay: s until the next ask; 0 unless waiting.
    :param notes: lines for the log: changes of state, trouble that began or ended.
    :param error: why the wait failed.
    """

    verdict: Verdict
    delay: float = 0.0
    notes: tuple[str, ...] = ()
    error: WanError | None = None


@dataclass(slots=True)
class VideoWatch:
    """One wait for one task: shown each answer, it says what to do and what is worth a line in the log.

    :param wan_task_id: the task waited for.
    :param started: when the wait began, unix time in s; the interval grows with the time since then.
    :param deadline: when to give up, unix time in s.
    :param poll_interval: shortest time between two asks, s.
    :param seen: when each status was first seen, unix time in s.
    """

    wan_task_id: str
    started: float
    deadline: float
    poll_interval: float = DEFAULT_POLL_INTERVAL
    seen: dict[str, float] = field(default_factory=dict)
    strikes: int = 0
    _failures: int = field(default=0, repr=False)
    _last_note: str = field(default="", repr=False)

    def see_task(self, task: WanTask, now: float) -> Decision:
        """Decide on an answer that told the task's state."""
        self.seen.setdefault(task.status.value, round(now, 3))
        notes = self._trouble_over(now)
        if task.status is TaskStatus.UNKNOWN:
            return self._strike(_lost(task), now, notes)
        self.strikes = 0
        if task.status in (TaskStatus.FAILED, TaskStatus.CANCELED):
            return Decision(Verdict.FAILED, error=_failed(task), notes=notes)
        if task.status is TaskStatus.SUCCEEDED and task.video_url:
            return Decision(Verdict.SUCCEEDED, notes=(*notes, f"done after {now - self.started:.0f} s"))
        note = _state_note(task)
        if note != self._last_note:
            self._last_note = note
            notes = (*notes, note)
        grown = max(self.poll_interval, min((now - self.started) / 10, LONGEST_INTERVAL))
        return self._wait(grown, now, notes)

    def see_error(self, error: WanError, now: float) -> Decision:
        """Decide on an ask that failed: a refusal counts as a strike, anything else is survived until the deadline."""
        if isinstance(error, (AuthenticationFailed, VideoTaskLost)):
            return self._strike(error, now, ())
        self.strikes = 0
        self._failures += 1
        notes: tuple[str, ...] = ()
        if self._failures == 1:
            notes = (f"the gateway cannot be asked for now, asking on until the deadline: {error}",)
        if error.retry_after is not None:
            return self._wait(max(self.poll_interval, min(error.retry_after, LONGEST_RETRY_AFTER)), now, notes)
        backoff = self.poll_interval * 2 ** min(self._failures, 10)
        return self._wait(max(self.poll_interval, min(backoff, LONGEST_BACKOFF)), now, notes)

    def _strike(self, error: WanError, now: float, notes: tuple[str, ...]) -> Decision:
        self.strikes += 1
        if self.strikes >= STRIKES:
            return Decision(Verdict.FAILED, error=error, notes=notes)
        notes = (*notes, f"refusal {self.strikes} of {STRIKES}, asking again: {error}")
        return self._wait(self.poll_interval, now, notes)

    def _wait(self, delay: float, now: float, notes: tuple[str, ...]) -> Decision:
        if now >= self.deadline:
            error = VideoWaitTimeout(
                f"No result within {self.deadline - self.started:.0f} s; last seen: {self._last_note or 'nothing'}.",
                wan_task_id=self.wan_task_id,
            )
            return Decision(Verdict.FAILED, error=error, notes=notes)
        return Decision(Verdict.WAIT, delay=min(self._varied(delay), self.deadline - now), notes=notes)

    def _trouble_over(self, now: float) -> tuple[str, ...]:
        if not self._failures:
            return ()
        failures, self._failures = self._failures, 0
        return (f"the gateway answers again after {failures} failed ask(s), {now - self.started:.0f} s into the wait",)

    @staticmethod
    def _varied(delay: float) -> float:
        # Only ever longer: the gateways set least intervals, and a Retry-After is one too.
        return delay * random.uniform(1, 1 + _JITTER)  # noqa: S311


def _state_note(task: WanTask) -> str:
    if task.status is TaskStatus.QUEUED:
        return "queued"
    if task.status is TaskStatus.RUNNING:
        return "running" if task.progress is None else f"running {task.progress} %"
    if task.status is TaskStatus.SUCCEEDED:
        return "succeeded, but the gateway gives no file yet"
    return f"in a state this package does not know ({task.status_word!r}), asking on"


def _failed(task: WanTask) -> VideoTaskFailed:
    return VideoTaskFailed(
        f"The Wan task ended {task.status}: {task.message or 'the gateway gave no reason'}.",
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
