"""WanVideoTrigger: asks for a Wan task on the event loop until it ends. It only reads, so it may run twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_wan.exceptions import (
    GatewayUnavailable,
    WanConnectionError,
    WanError,
    error_to_dict,
)
from airflow_wan.hooks.wan import WanHook
from airflow_wan.redaction import redact
from airflow_wan.waiting.watch import DEFAULT_POLL_INTERVAL_S, Decision, Verdict, VideoWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_wan.api.client import AsyncWanClient

__all__ = ["WanVideoTrigger"]

FIRST_READ_S = 5.0
"""Least seconds from the start of the trigger to its first read, whatever the poll interval.

The worker has just read the task. Besides, an event may only come once Airflow's scheduler has seen that the worker's
process has ended: Airflow 3.3.2 takes an event within a second of the deferral for a failure of the task.
"""

LONGEST_LOOK_UP_S = 180.0
"""Seconds within which Airflow must give the connection. The client bounds its own calls."""

LONGEST_KILL_S = 25.0
"""Seconds for which a killed trigger waits until its Wan task is canceled, so that its log tells what came of it.
Airflow's own `[triggerer] on_kill_timeout` is 30 s."""

_endings: set[asyncio.Task[None]] = set()
"""What goes on after the trigger that began it: the event loop itself keeps no task alive."""


class WanVideoTrigger(BaseTrigger):
    """Waits for a Wan task to end and yields one event; never a URL, a key or a file.

    The event: ``{"status": "success" | "error", "wan_task_id": …, "wan_conn_id": …, "base_url": …, "seen": …}``, where
    ``seen`` says when each of the task's states was first seen (unix times in s). With ``error`` come the fields of
    the `WanError` that ended the wait.

    :param wan_task_id: the Wan task to wait for.
    :param wan_conn_id: the Airflow connection to ask with.
    :param started: when the wait began, unix time in s.
    :param deadline: when to give up a task that has not been queued, unix time in s; absolute, as are the next two, so
        that a restarted triggerer does not start again.
    :param queue_deadline: until when the Wan task may be queued, unix time in s; by default ``deadline``.
    :param latest: when to give up in any case, unix time in s; by default ``deadline``.
    :param poll_interval: shortest time between two reads, s.
    :param base_url: where the Wan task was submitted; by default where the connection leads now.
    :param cancel_on_kill: whether a user who ends the deferred task also cancels the Wan task, where the gateway can.
    """

    def __init__(
        self,
        *,
        wan_task_id: str,
        wan_conn_id: str,
        started: float,
        deadline: float,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        base_url: str | None = None,
        cancel_on_kill: bool = False,
        queue_deadline: float | None = None,
        latest: float | None = None,
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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the Wan task ends or the deadline passes, or until this process cannot use the connection."""
        watch = VideoWatch(
            self.wan_task_id,
            self.started,
            self.deadline,
            self.poll_interval,
            queue_deadline=self.queue_deadline,
            latest=self.latest,
        )
        await asyncio.sleep(max(0.0, min(max(self.poll_interval, FIRST_READ_S), self.deadline - time.time())))
        async with _Reader(self._hook) as reader:
            while True:
                decision = await reader.read(watch)
                for note in decision.notes:
                    self.log.info("Wan task %s: %s", self.wan_task_id, note)
                if decision.verdict is not Verdict.WAIT:
                    yield TriggerEvent(self._event(decision, watch))
                    return
                await asyncio.sleep(decision.delay)

    def _event(self, decision: Decision, watch: VideoWatch) -> dict[str, Any]:
        event = {
            "wan_task_id": self.wan_task_id,
            "wan_conn_id": self.wan_conn_id,
            "base_url": self.base_url,
            "seen": watch.seen,
        }
        if decision.error is None:
            return event | {"status": "success"}
        return event | {"status": "error", "error": error_to_dict(decision.error)}

    def _hook(self) -> WanHook:
        return WanHook(self.wan_conn_id, base_url=self.base_url)

    async def on_kill(self) -> None:
        """Cancel the Wan task of a deferred task that a user ended, if that is wanted and the gateway can.

        Airflow 3.3.0 to 3.3.2 also call this when the trigger merely moves to another triggerer. The task instance is
        still deferred then, and its video still wanted.

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
                if await self._is_still_deferred():
                    self.log.info("Wan task %s goes on: its Airflow task is still deferred.", self.wan_task_id)
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

    async def _is_still_deferred(self) -> bool:
        instance = self.task_instance
        if instance is None:
            return False
        return await asyncio.to_thread(
            is_deferred, instance.dag_id, instance.run_id, instance.task_id, instance.map_index
        )


def is_deferred(dag_id: str, run_id: str, task_id: str, map_index: int) -> bool:
    """Return whether Airflow still has a task instance down as deferred. Blocks: it asks the execution API."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - heavy, and rarely needed

    states = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, run_ids=[run_id], task_ids=[task_id], map_index=map_index
    )
    return "deferred" in states.get(run_id, {}).values()


class _Reader:
    """Reads with one client for the whole wait; with a new one after a refusal, in case the key was changed.

    :param make_hook: returns a hook that has not looked its connection up yet.
    """

    def __init__(self, make_hook: Callable[[], WanHook]) -> None:
        self._make_hook = make_hook
        self._client: AsyncWanClient | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def read(self, watch: VideoWatch) -> Decision:
        """Read the Wan task once, and return what the answer means for the wait."""
        decision = await self._read(watch)
        if watch.refused:
            await self._open.aclose()
            self._client = None
        return decision

    async def _read(self, watch: VideoWatch) -> Decision:
        try:
            client = await self._connected(watch.wan_task_id)
            task = await client.get_task(watch.wan_task_id)
        except WanError as error:
            return watch.see_error(error, time.time())
        except Exception as error:  # noqa: BLE001 - the text of a foreign error could end the triggerer
            return watch.see_error(GatewayUnavailable(_describe(error), wan_task_id=watch.wan_task_id), time.time())
        return watch.see_task(task, time.time())

    async def _connected(self, wan_task_id: str) -> AsyncWanClient:
        if self._client is None:
            client = await self._connect(wan_task_id)
            if isinstance(client, WanError):
                raise client
            self._client = await self._open.enter_async_context(client)
        return self._client

    async def _connect(self, wan_task_id: str) -> AsyncWanClient | WanError:
        """Return a client, or the error that says why there is none; foreign errors may hold the connection."""
        try:
            async with asyncio.timeout(LONGEST_LOOK_UP_S):
                return await self._make_hook().get_async_conn()
        except WanConnectionError as error:
            return WanConnectionError(
                f"The triggerer cannot use the Airflow connection of wan task {wan_task_id}, which is paid for: "
                f"{error.message} A retry asks again from a worker.",
                wan_task_id=wan_task_id,
            )
        except Exception as error:  # noqa: BLE001 - Airflow's own API may be away for a while; the video is not
            message = f"The Airflow connection cannot be read: {_describe(error)}"
            return GatewayUnavailable(message, wan_task_id=wan_task_id)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
