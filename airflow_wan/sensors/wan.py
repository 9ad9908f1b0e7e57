"""WanVideoSensor: waits for a submitted Wan task and hands on the path of its video."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_wan.api.arguments import is_unset
from airflow_wan.api.polling import DEFAULT_TIMEOUT_S, Verdict, VideoWatch
from airflow_wan.config import poll_interval
from airflow_wan.exceptions import VideoTaskFailed, VideoWaitTimeout, WanError
from airflow_wan.hooks.wan import WanHook
from airflow_wan.triggers.wan import WanVideoTrigger
from airflow_wan.videos.waiting import WaitsForVideo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

# Between two asks of one poke, after a refusal that may be a slip.
_STRIKE_PAUSE = 5.0


class WanVideoSensor(WaitsForVideo, BaseSensorOperator):
    """Waits for a Wan task and downloads its video; it submits nothing, so its retries cost nothing.

    :param wan_task_id: the task, as `WanSubmitVideoOperator` returns it. (templated)
    :param output_path: where the video goes: a local path or a URI such as ``s3://conn_id@bucket/key.mp4``; by default
        a path of this task instance's own under ``[wan] output_base``. (templated)
    :param wan_conn_id: the Airflow connection that submitted the task. (templated)
    :param deferrable: whether to wait in the triggerer. False: on a worker, by ``mode`` ``poke`` or ``reschedule``.
    :param poke_interval: shortest time between two asks, s or timedelta; by default ``[wan] poll_interval``, 15 s.
    :param timeout: how long to wait, s or timedelta; the gateways themselves give up after 3 h.
    :param cancel_on_kill: whether killing this sensor cancels the Wan task, where the gateway can.
    :param sidecar: whether to leave a record beside the video, ``<video>.json``: ids, times, digest.
    :param poster: whether to leave the video's first frame beside it, as JPEG. It needs the extra ``inspection``.
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    template_fields: Sequence[str] = ("wan_task_id", "output_path", "wan_conn_id")
    ui_color = "#efe6f7"

    def __init__(
        self,
        *,
        wan_task_id: str,
        output_path: str | None = None,
        wan_conn_id: str = WanHook.default_conn_name,
        deferrable: bool = True,
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_S,
        cancel_on_kill: bool = False,
        sidecar: bool = True,
        poster: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poke_interval=poll_interval() if poke_interval is None else poke_interval, timeout=timeout, **kwargs
        )
        self.wan_task_id = wan_task_id
        self.output_path = output_path
        self.wan_conn_id = wan_conn_id
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.sidecar = sidecar
        self.poster = poster

    def execute(self, context: Context) -> Any:
        """Wait, in whichever way was asked for, and bring the video home."""
        if is_unset(self.wan_task_id):
            raise AirflowFailException(
                "wan_task_id is empty: give the output of WanSubmitVideoOperator, such as submit.output."
            )
        self.check_extras()
        self.prepare_destination(context)
        if not self.deferrable:
            return super().execute(context)
        started = time.time()
        watch = VideoWatch(self.wan_task_id, started, started + self.longest_wait(), self.poke_interval)
        trigger = WanVideoTrigger(
            wan_task_id=self.wan_task_id,
            wan_conn_id=self.wan_conn_id,
            started=started,
            deadline=watch.deadline,
            poll_interval=self.poke_interval,
            cancel_on_kill=self.cancel_on_kill,
        )
        return self.wait_without_worker(context, WanHook(self.wan_conn_id), watch, trigger)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask once; a refusal is asked about again at once, because a rescheduled sensor remembers nothing."""
        now = time.time()
        watch = VideoWatch(self.wan_task_id, now, float("inf"), self.poke_interval)
        hook = WanHook(self.wan_conn_id)
        self._running = self.wan_task_id, hook
        with hook.get_conn() as client:
            decision = self.ask(client, watch)
            while watch.refusals and decision.verdict is Verdict.WAIT:
                time.sleep(min(self.poke_interval, _STRIKE_PAUSE))
                decision = self.ask(client, watch)
        if decision.error is not None:
            self.end_wait(context, decision.error)
        if decision.verdict is Verdict.WAIT:
            return False
        path = self.deliver(context, self.wan_task_id, hook, watch.seen)
        return PokeReturnValue(is_done=True, xcom_value=path)

    def for_airflow(self, error: WanError) -> Exception:
        """A timeout as sensors time out; a failed task for good, since asking again changes nothing."""
        if isinstance(error, VideoWaitTimeout):
            return AirflowSensorTimeout(str(error))
        if isinstance(error, VideoTaskFailed):
            return AirflowFailException(str(error))
        return super().for_airflow(error)
