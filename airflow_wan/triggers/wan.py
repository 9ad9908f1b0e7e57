"""WanVideoTrigger: waits on the event loop until a Wan task ends. It only reads, so it may run twice.

All triggers of a process that wait for one gateway account share one reader; see `airflow_wan.waiting.shared_reader`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_wan import config
from airflow_wan.exceptions import (
    GatewayUnavailable,
    WanConnectionError,
    WanError,
    error_to_dict,
)
from airflow_wan.hooks.look_up import look_up_account
from airflow_wan.hooks.wan import WanHook
from airflow_wan.redaction import redact
from airflow_wan.telemetry.metrics import ReaderMetrics
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.shared_reader import shared_reader
from airflow_wan.waiting.watch import Decision, Verdict, VideoWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_wan.api.gateways import Account

__all__ = ["WanVideoTrigger"]

FIRST_READ_S = 5.0
"""Least seconds from the start of the trigger to its first read, whatever the schedule says.

The worker has just read the task. Besides, an event may only come once Airflow's scheduler has seen that the worker's
process has ended: Airflow 3.3.2 takes an event within a second of the deferral for a failure of the task.
"""

LONGEST_KILL_S = 25.0
"""Seconds for which a killed trigger waits until its Wan task is canceled, so that its log tells what came of it.
Airflow's own `[triggerer] on_kill_timeout` is 30 s."""

_UNKNOWN_TO_AIRFLOW = "unknown to Airflow"

_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed", _UNKNOWN_TO_AIRFLOW)
"""The states of a task instance whose video nobody wants any more."""

_endings: set[asyncio.Task[None]] = set()
"""What goes on after the trigger that began it: the event loop itself keeps no task alive."""


class WanVideoTrigger(BaseTrigger):
    """Waits for a Wan task to end and yields one event; never a URL, a key or a file.

    The event: ``{"status": "success" | "error", "wan_task_id": …, "wan_conn_id": …, "base_url": …, "seen": …}``, where
    ``seen`` says when each of the task's states was first seen (unix times in s). With ``error`` come the fields of
    the `WanError` that ended the wait. ``output_path`` comes back as it was given.

    :param wan_task_id: the Wan task to wait for.
    :param wan_conn_id: the Airflow connection to ask with.
    :param started: when the wait began, unix time in s.
    :param deadline: when to give up a task that has not been queued, unix time in s; absolute, as are the next two, so
        that a restarted triggerer does not start again.
    :param queue_deadline: until when the Wan task may be queued, unix time in s; by default ``deadline``.
    :param latest: when to give up in any case, unix time in s; by default ``deadline``.
    :param poll_interval: time between two reads, s; by default the schedule decides.
    :param base_url: where the Wan task was submitted; by default where the connection leads now.
    :param cancel_on_kill: whether a user who ends the deferred task also cancels the Wan task, where the gateway can.
    :param model: the model of the video, if known; it tells how long the video may take, as do the next two.
    :param resolution: its resolution, such as ``720P``.
    :param duration: its length, s.
    :param output_path: where the video goes, if the task that resumes cannot know it otherwise.
    """

    def __init__(
        self,
        *,
        wan_task_id: str,
        wan_conn_id: str,
        started: float,
        deadline: float,
        poll_interval: float | None = None,
        base_url: str | None = None,
        cancel_on_kill: bool = False,
        queue_deadline: float | None = None,
        latest: float | None = None,
        model: str | None = None,
        resolution: str | None = None,
        duration: float | None = None,
        output_path: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wan_task_id = wan_task_id
        self.wan_conn_id = wan_conn_id
        self.started = started
        self.deadline = deadline
        self.queue_deadline = queue_deadline
        self.latest = latest
        self.poll_interval = poll_interval
        self.base_url = base_url
        self.cancel_on_kill = cancel_on_kill
        self.model = model
        self.resolution = resolution
        self.duration = duration
        self.output_path = output_path
        self._ending: asyncio.Task[None] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the database keeps, as plain text."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "wan_task_id": self.wan_task_id,
                "wan_conn_id": self.wan_conn_id,
                "started": self.started,
                "deadline": self.deadline,
                "queue_deadline": self.queue_deadline,
                "latest": self.latest,
                "poll_interval": self.poll_interval,
                "base_url": self.base_url,
                "cancel_on_kill": self.cancel_on_kill,
                "model": self.model,
                "resolution": self.resolution,
                "duration": self.duration,
            }
            | self._given_path,
        )

    @property
    def _given_path(self) -> dict[str, str]:
        return {} if self.output_path is None else {"output_path": self.output_path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until the Wan task ends or the time is over, or until this process cannot use the connection."""
        watch = self._watch()
        first_read_s = max(FIRST_READ_S, self.poll_interval or 0.0)
        await asyncio.sleep(max(0.0, min(first_read_s, watch.gives_up_at - time.time())))
        decision = await self._ask(watch)
        while decision.verdict is Verdict.WAIT:
            await asyncio.sleep(decision.delay)
            decision = await self._ask(watch, again=True)
        yield TriggerEvent(self._event(decision, watch))

    async def _ask(self, watch: VideoWatch, *, again: bool = False) -> Decision:
        """Wait with all others of the account until the Wan task ends, or until the gateway refuses to tell.

        The connection is looked up each time: it may have been corrected since the refusal.

        :param again: whether this is not the first time, so that the task is to be read at once.
        """
        account = await self._account()
        if isinstance(account, WanError):
            return self._noted(watch.see_error(account, time.time()))
        reader = shared_reader(account, config.limits(account.gateway.name), ReaderMetrics())
        with reader.joined(watch, at_once=again or self.poll_interval is not None) as wait:
            while True:
                decision = self._noted(await wait.decision())
                if decision.verdict is not Verdict.WAIT or watch.refused:
                    return decision

    async def _account(self) -> Account | WanError:
        """Return the account, or the error that says why there is none; foreign errors may hold the connection."""
        try:
            return self._hook().checked(await look_up_account(self.wan_conn_id))
        except WanConnectionError as error:
            return WanConnectionError(
                f"The triggerer cannot use the Airflow connection of wan task {self.wan_task_id}, which is paid for: "
                + error.message,
                wan_task_id=self.wan_task_id,
            )
        except Exception as error:  # noqa: BLE001 - Airflow's own API may be away for a while; the video is not
            message = f"The Airflow connection cannot be read: {type(error).__name__}: {error}"
            return GatewayUnavailable(message, wan_task_id=self.wan_task_id)

    def _noted(self, decision: Decision) -> Decision:
        for note in decision.notes:
            self.log.info("Wan task %s: %s", self.wan_task_id, note)
        return decision

    def _watch(self) -> VideoWatch:
        return VideoWatch(
            self.wan_task_id,
            self.started,
            self.deadline,
            self.poll_interval,
            queue_deadline=self.queue_deadline,
            latest=self.latest,
            kind=VideoKind(self.model, self.resolution, self.duration),
        )

    def _event(self, decision: Decision, watch: VideoWatch) -> dict[str, Any]:
        event = {
            "wan_task_id": self.wan_task_id,
            "wan_conn_id": self.wan_conn_id,
            "base_url": self.base_url,
            "seen": watch.seen,
        } | self._given_path
        if decision.error is None:
            return event | {"status": "success"}
        return event | {"status": "error", "error": error_to_dict(decision.error)}

    def _hook(self) -> WanHook:
        return WanHook(self.wan_conn_id, base_url=self.base_url)

    async def on_kill(self) -> None:
        """Cancel the Wan task of a deferred task that a user ended, if that is wanted and the gateway can.

        Airflow 3.3.0 to 3.3.2 also call this when the trigger merely moves to another triggerer. The task instance is
        still deferred then, and its video still wanted. So it is after the task was cleared: its next try continues
        with the same Wan task.

        They also cancel a trigger again each second until it has ended, and so this method too. So the work is a task
        of its own, and a further cancellation only makes the trigger go on waiting for it.
        """
        self._ending = asyncio.create_task(self._end_wan_task())
        _endings.add(self._ending)
        self._ending.add_done_callback(_endings.discard)
        await self._wait_for_ending(self._ending)
        if not self._ending.done():
            self.log.warning(
                "Wan task %s: no answer to its cancel within %.0f s yet; it may go on and be billed.",
                self.wan_task_id,
                LONGEST_KILL_S,
            )

    async def cleanup(self) -> None:
        """Wait for what `on_kill` began: Python 3.11 lets Airflow leave that method at the second cancellation."""
        if self._ending is not None:
            await self._wait_for_ending(self._ending)

    async def _wait_for_ending(self, ending: asyncio.Task[None]) -> None:
        until = time.monotonic() + LONGEST_KILL_S
        while not ending.done() and (left_s := until - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([ending], timeout=left_s)

    async def _end_wan_task(self) -> None:
        """Cancel the Wan task if that is wanted, and log what came of it; raises nothing."""
        hook = self._hook()
        try:
            if self.cancel_on_kill:
                state = await self._state_of_task()
                if state not in _ENDED:
                    what = "still deferred" if state == "deferred" else f"{state}, and its next try continues with it"
                    self.log.info("Wan task %s goes on: its Airflow task is %s.", self.wan_task_id, what)
                    return
                await hook.get_async_account()  # the thread below then needs nothing of this event loop
        except Exception as error:  # noqa: BLE001 - whatever fails, the trigger ends
            self.log.warning(
                "Wan task %s could not be canceled and may go on and be billed: %s",
                self.wan_task_id,
                redact(str(error)),
            )
            return
        # In a thread, so that worker and triggerer share one kill handler.
        await asyncio.to_thread(hook.cancel_task, self.wan_task_id, wanted=self.cancel_on_kill)

    async def _state_of_task(self) -> str:
        instance = self.task_instance
        if instance is None:
            return _UNKNOWN_TO_AIRFLOW
        return await asyncio.to_thread(
            state_of_task, instance.dag_id, instance.run_id, instance.task_id, instance.map_index
        )


def state_of_task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Return the state of a task instance in whatever try. Blocks: it asks the execution API."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - heavy, and rarely needed

    states = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, run_ids=[run_id], task_ids=[task_id], map_index=map_index
    )
    for state in states.get(run_id, {}).values():
        return "to be scheduled" if state is None else str(state)
    return _UNKNOWN_TO_AIRFLOW
