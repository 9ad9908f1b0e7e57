"""WanVideoTrigger: asks for a task on the event loop until it ends. It only reads, so it may run twice."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_wan.api.errors import AuthenticationFailed, GatewayUnavailable, WanError, error_to_dict, redact
from airflow_wan.api.polling import DEFAULT_POLL_INTERVAL, Decision, Verdict, VideoWatch
from airflow_wan.hooks.wan import WanConnectionError, WanHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_wan.api.client import AsyncWanClient


class WanVideoTrigger(BaseTrigger):
    """Waits for a Wan task to end and yields one event; never a URL, a key or a file.

    The event: ``{"status": "success" | "error", "wan_task_id": …, "waited_s": …}``, and with ``error`` the fields of
    the `WanError` that ended the wait.

    :param wan_task_id: the task to wait for.
    :param wan_conn_id: the Airflow connection to ask with.
    :param started: when the wait began, unix time in s.
    :param deadline: when to give up, unix time in s; absolute, so that a restarted triggerer does not start afresh.
    :param poll_interval: shortest time between two asks, s.
    :param cancel_on_kill: whether a user who ends the deferred task also cancels the Wan task, where the gateway can.
    """

    def __init__(
        self,
        *,
        wan_task_id: str,
        wan_conn_id: str,
        started: float,
        deadline: float,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wan_task_id = wan_task_id
        self.wan_conn_id = wan_conn_id
        self.started = started
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the database keeps, in plain text."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "wan_task_id": self.wan_task_id,
                "wan_conn_id": self.wan_conn_id,
                "started": self.started,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the task ends, the gateway refuses for good, or the deadline passes."""
        watch = VideoWatch(self.wan_task_id, self.started, self.deadline, self.poll_interval)
        # A task submitted a moment ago cannot be done yet; one waited for already is asked about at once.
        await asyncio.sleep(max(0.0, self.started + self.poll_interval - time.time()))
        async with _Asker(self.wan_conn_id) as asker:
            while True:
                decision = await asker.ask(watch)
                for note in decision.notes:
                    self.log.info("Wan task %s: %s", self.wan_task_id, note)
                if decision.verdict is not Verdict.WAIT:
                    yield TriggerEvent(self._event(decision))
                    return
                await asyncio.sleep(decision.delay)

    def _event(self, decision: Decision) -> dict[str, Any]:
        event = {"wan_task_id": self.wan_task_id, "waited_s": round(time.time() - self.started, 1)}
        if decision.error is None:
            return event | {"status": "success"}
        return event | {"status": "error", "error": error_to_dict(decision.error)}

    async def on_kill(self) -> None:
        """A user ended the deferred task: cancel the Wan task if it is still queued and the gateway can."""
        if not self.cancel_on_kill:
            self.log.info("Wan task %s is left running at the gateway, and may be billed.", self.wan_task_id)
            return
        hook = WanHook(self.wan_conn_id)
        try:
            account = await hook.get_async_account()
            if not account.gateway.can_cancel:
                self.log.warning(
                    "Wan task %s goes on and may be billed: %s cannot cancel.", self.wan_task_id, account.gateway.title
                )
                return
            async with await hook.get_async_conn() as client:
                await client.cancel(self.wan_task_id)
        except (WanError, WanConnectionError) as error:
            self.log.warning(
                "Wan task %s could not be canceled and may go on and be billed: %s", self.wan_task_id, error
            )
        else:
            self.log.info("Wan task %s is canceled; it will not be billed.", self.wan_task_id)


class _Asker:
    """One client for the whole wait, made when first needed and again after a refusal, in case the key was changed."""

    def __init__(self, wan_conn_id: str) -> None:
        self._wan_conn_id = wan_conn_id
        self._client: AsyncWanClient | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def ask(self, watch: VideoWatch) -> Decision:
        """One ask, decided on."""
        try:
            if self._client is None:
                self._client = await self._open.enter_async_context(await WanHook(self._wan_conn_id).get_async_conn())
            task = await self._client.get_task(watch.wan_task_id)
        except WanError as error:
            if isinstance(error, AuthenticationFailed):
                await self._open.aclose()
                self._client = None
            return watch.see_error(error, time.time())
        except WanConnectionError as error:
            return watch.see_error(AuthenticationFailed(str(error), wan_task_id=watch.wan_task_id), time.time())
        except Exception as error:  # noqa: BLE001 - Airflow's API may be away for a while; the video is not
            message = (
                f"The connection {self._wan_conn_id!r} cannot be read: {type(error).__name__}: {redact(str(error))}"
            )
            return watch.see_error(GatewayUnavailable(message, wan_task_id=watch.wan_task_id), time.time())
        return watch.see_task(task, time.time())
