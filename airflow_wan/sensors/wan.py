"""WanVideoSensor: waits for a submitted Wan task and hands on the path of its video."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_wan import config
from airflow_wan.api.answers import is_task_id
from airflow_wan.api.arguments import is_unset, show
from airflow_wan.exceptions import InvalidVideoRequest, VideoTaskFailed, VideoWaitTimeout, WanError
from airflow_wan.hooks.wan import WanHook
from airflow_wan.purchases.record import NOTHING_KNOWN
from airflow_wan.telemetry.lineage import openlineage_of
from airflow_wan.videos.acceptance import checked_strictness
from airflow_wan.videos.airflow_errors import as_airflow_error, errors_for_airflow, fail_for_good
from airflow_wan.videos.extra_link import VideoLink
from airflow_wan.videos.job import end_wait, longest_wait_in_all_s, prepare_job, resume, seconds_of, watch_since
from airflow_wan.videos.output_path import path_text
from airflow_wan.videos.steps import ask
from airflow_wan.videos.wan_status import tell_failure
from airflow_wan.waiting.patience import DEFAULT_QUEUE_TIMEOUT_S
from airflow_wan.waiting.single_wait import SingleWait
from airflow_wan.waiting.watch import DEFAULT_POLL_INTERVAL_S, DEFAULT_TIMEOUT_S, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta
    from os import PathLike

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_wan.purchases.record import Purchase
    from airflow_wan.videos.acceptance import Strictness
    from airflow_wan.videos.job import VideoJob
    from airflow_wan.videos.wan_video import FinishedVideo
    from airflow_wan.waiting.watch import VideoWatch

__all__ = ["WanVideoSensor"]


class WanVideoSensor(BaseSensorOperator):
    """Waits for a Wan task and downloads its video. It submits nothing, so its retries cost nothing.

    If a `WanSubmitVideoOperator` upstream submitted the Wan task, the video is compared with what was ordered there,
    and record, cost and XCom are those of the one-task operators. Otherwise the video is compared with nothing.

    :param wan_task_id: (str, templated) the Wan task, as `WanSubmitVideoOperator` returns it.
    :param output_path: (str or path object, templated) where the video goes: a local path or a URI such as
        ``s3://conn_id@bucket/key.mp4``; by default a path of this task instance's own under ``[wan] output_base``.
    :param wan_conn_id: (str, templated) the Airflow connection that submitted the Wan task.
    :param deferrable: (bool) whether to wait in the triggerer. False: on a worker, by ``mode`` ``poke`` or
        ``reschedule``. By default ``[wan] deferrable``, which is True unless the installation says otherwise.
    :param poke_interval: (s, or timedelta) time between two reads of the Wan task; by default ``[wan] poll_interval``,
        and without it a schedule that knows how long such videos take.
    :param timeout: (s, or timedelta) how long the Wan task may take once it has left the gateway's queue, counted from
        the start of this sensor at the earliest; 3 h 15 min by default, as the gateways themselves give up after 3 h.
    :param queue_timeout: (s, or timedelta) how long the Wan task may be queued at the gateway, counted from the start
        of this sensor; 24 h by default, for which the gateways keep a task.
    :param cancel_on_kill: (bool) whether killing this sensor cancels the Wan task, where the gateway can.
    :param acceptance: what becomes of a video that differs from what was ordered upstream in length, resolution or
        sound: ``strict`` rejects it, ``warn`` accepts it, logs the differences and names them in its record, ``off``
        does not compare. A file that is not whole is always rejected.
    :param sidecar: (bool) whether to leave a record beside the video, ``<video>.json``: ids, times, digest.
    :param poster: (bool) whether to leave the video's first frame beside it, as JPEG. It needs the extra
        ``inspection``.
    :returns: the path or URI of the video; its facts are under the XCom key ``wan_video``, see
        `airflow_wan.videos.wan_video.WanVideo`.
    """

    template_fields: Sequence[str] = ("wan_task_id", "output_path", "wan_conn_id")
    ui_color = "#efe6f7"
    operator_extra_links = (VideoLink(),)

    running: tuple[str, WanHook] | None = None
    """The Wan task that a kill would leave behind, and the hook that reaches it."""

    _job: VideoJob
    """What `poke` works on."""

    _wait: SingleWait
    """The wait that the pokes make."""

    _video: FinishedVideo | None = None
    """The video of this run, for OpenLineage."""

    def __init__(
        self,
        *,
        wan_task_id: str,
        output_path: str | PathLike[str] | ObjectStoragePath | None = None,
        wan_conn_id: str = WanHook.default_conn_name,
        deferrable: bool | None = None,
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_S,
        queue_timeout: timedelta | float = DEFAULT_QUEUE_TIMEOUT_S,
        cancel_on_kill: bool = False,
        acceptance: Strictness = "strict",
        sidecar: bool = True,
        poster: bool = False,
        **kwargs: Any,
    ) -> None:
        interval = config.poll_interval() if poke_interval is None else poke_interval
        super().__init__(
            poke_interval=DEFAULT_POLL_INTERVAL_S if interval is None else interval, timeout=timeout, **kwargs
        )
        self.poll_interval = None if interval is None else self.poke_interval
        self.queue_timeout = seconds_of("queue_timeout", queue_timeout)
        self.wan_task_id = wan_task_id
        self.output_path = path_text(output_path)
        self.wan_conn_id = wan_conn_id
        self.deferrable = config.deferrable() if deferrable is None else deferrable
        self.cancel_on_kill = cancel_on_kill
        self.acceptance = checked_strictness(acceptance)
        self.sidecar = sidecar
        self.poster = poster

    def execute(self, context: Context) -> Any:
        """Wait, in the way that was chosen, and bring the video home."""
        with self._skipping(), errors_for_airflow(context, self.for_airflow):
            if isinstance(self.wan_task_id, str):
                self.wan_task_id = self.wan_task_id.strip()  # a template of several lines
            if problem := self._problem_of_the_id():
                raise InvalidVideoRequest([problem])
            job = prepare_job(self, context, WanHook(self.wan_conn_id), ledger=None)
            job.check_siblings()
            purchase = job.known_purchase(self.wan_task_id)
            watch = self._watch(job, purchase)
            job.tell_wait(watch, purchase)
            if self.deferrable:
                self.running = self.wan_task_id, job.hook
                job.wait(watch, deferrable=True)
                self.running = None  # it has ended: a kill has nothing to cancel
                return self.finish(job, watch)
        self._job, self._wait = job, SingleWait(watch, time.time())
        with self._skipping():
            return self._poke_until_done(context)

    def _watch(self, job: VideoJob, purchase: Purchase | None) -> VideoWatch:
        """Return the wait; one that is rescheduled began with the first poke."""
        reschedules = self.reschedule and not self.deferrable
        began = job.context["ti"].get_first_reschedule_date(job.context) if reschedules else None
        started = began.timestamp() if began else time.time()
        order = NOTHING_KNOWN if purchase is None else purchase.order
        return watch_since(started, self, self.wan_task_id, self.poll_interval, order=order, sees_all=not reschedules)

    def _get_next_poke_interval(self, *args: Any, **kwargs: Any) -> float:
        """Return the seconds until the next poke, which the schedule decides unless the author does."""
        if self.poll_interval is not None or self.exponential_backoff:
            return float(super()._get_next_poke_interval(*args, **kwargs))
        return self._wait.pause_s(time.time())

    def _problem_of_the_id(self) -> str:
        """Return why there is no Wan task id to wait for; empty if there is one."""
        if is_unset(self.wan_task_id):
            return "wan_task_id is empty: give the output of WanSubmitVideoOperator, such as submit.output."
        if not isinstance(self.wan_task_id, str):
            return (
                f"wan_task_id is a {type(self.wan_task_id).__name__}, not one id. If the submit is mapped, map the "
                "sensor too: WanVideoSensor.partial(task_id=…).expand(wan_task_id=submit.output)."
            )
        if not is_task_id(self.wan_task_id):
            return f"No Wan task can have the id {show(self.wan_task_id)}: give the output of WanSubmitVideoOperator."
        return ""

    def _poke_until_done(self, context: Context) -> Any:
        # The watch tells when to give up, which depends on the gateway's queue; Airflow's own timeout knows no queue.
        own, self.timeout = self.timeout, longest_wait_in_all_s(self)
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            if skip.__cause__ is None:  # Airflow's own: no poke has failed, but the time is over
                tell_failure(context, self.for_airflow(self._timeout(skip)))
            raise
        except AirflowSensorTimeout as error:
            if isinstance(error, WanError):
                raise
            timeout = self._timeout(error)
        finally:
            self.timeout = own
        with errors_for_airflow(context, self.for_airflow):
            raise timeout

    def _timeout(self, airflows: AirflowException) -> VideoWaitTimeout:
        return VideoWaitTimeout(str(airflows), wan_task_id=self.wan_task_id)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask once; only the end of the Wan task or of the time ends the wait."""
        job, watch = self._job, self._wait.watch
        self.running = self.wan_task_id, job.hook
        with errors_for_airflow(context, self.for_airflow):
            decision = ask(job.hook, self._wait)
            if watch.refused:
                self._job = replace(job, hook=job.hook.renewed())
            if decision.error is not None:
                end_wait(decision.error, context, ledger=None)
            if decision.verdict is Verdict.WAIT:
                return False
            self.running = None  # it has ended: a kill has nothing to cancel
            return PokeReturnValue(is_done=True, xcom_value=self.finish(job, watch))

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str:
        """Resume on a worker: bring the video home, or raise what ended the wait."""
        with self._skipping(), errors_for_airflow(context, self.for_airflow):
            job, self._video = resume(self, context, event, ledger=None)
            return job.hand_over(self._video)

    def finish(self, job: VideoJob, watch: VideoWatch) -> str:
        """Bring the video home and return its path."""
        self._video = job.deliver(self.wan_task_id, watch.seen, job.known_purchase(self.wan_task_id))
        return job.hand_over(self._video)

    def for_airflow(self, error: WanError) -> WanError:
        """Return what to raise for an error: a timeout as sensors time out, a failed Wan task for good.

        A sensor buys nothing, but what it waits for may be billed, whatever keeps it from waiting.
        """
        named = isinstance(self.wan_task_id, str) and is_task_id(self.wan_task_id)  # a template may have made any text
        if named and not isinstance(error, VideoTaskFailed):
            error.wan_task_id = error.wan_task_id or self.wan_task_id
            error.billed = error.billed or None
        if isinstance(error, VideoWaitTimeout):
            error.advice = (
                "Airflow does not retry a sensor that timed out: clear it to wait again, until 24 h after the submit."
            )
            return as_airflow_error(error, AirflowSensorTimeout)
        if isinstance(error, VideoTaskFailed):
            return as_airflow_error(error, AirflowFailException)  # to ask again changes nothing
        return fail_for_good(error)

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip the task as ``soft_fail`` and ``never_fail`` say, which Airflow itself does for pokes only."""
        try:
            yield
        except AirflowSkipException:
            raise
        except (AirflowException, WanError) as error:
            soft = self.soft_fail and isinstance(error, (AirflowSensorTimeout, AirflowFailException))
            if not soft and not self.never_fail:
                raise
            which = "soft_fail" if soft else "never_fail"
            raise AirflowSkipException(f"Skipped, as {which} is set: {error}") from error

    def on_kill(self) -> None:
        """Cancel the Wan task that the killed sensor waits for, if that is wanted and the gateway can."""
        if self.running is not None:
            wan_task_id, hook = self.running
            hook.cancel_task(wan_task_id, wanted=self.cancel_on_kill)

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """Return the video and what it was made from; OpenLineage's own provider asks for it."""
        return openlineage_of(self._video.sources, self._video.facts) if self._video else None
