"""VideoJob: one Airflow task's way from a Wan task to the path of its video. Operator and sensor each own one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from airflow.providers.common.compat.sdk import AirflowException

from airflow_wan.exceptions import (
    DestinationError,
    LedgerUnreadable,
    VideoTaskFailed,
    WanConnectionError,
    WanError,
    error_from_dict,
)
from airflow_wan.hooks.wan import WanHook
from airflow_wan.purchases.budget import give_back, settle
from airflow_wan.purchases.ledger import clear_purchase
from airflow_wan.purchases.record import NOTHING_KNOWN, Order, Purchase
from airflow_wan.purchases.siblings import map_index_of
from airflow_wan.purchases.submitted_order import find_order
from airflow_wan.telemetry.lineage import tell_airflow
from airflow_wan.triggers.wan import WanVideoTrigger
from airflow_wan.videos.output_path import destination_for, warn_if_not_shared, why_not_kept
from airflow_wan.videos.steps import ask, check_download, check_poster, paid_for
from airflow_wan.videos.told_paths import find_sibling, tell_path
from airflow_wan.videos.wan_status import tell_purchase, tell_video, tell_wait
from airflow_wan.videos.wan_video import WAN_VIDEO_KEY
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.single_wait import SingleWait
from airflow_wan.waiting.watch import Verdict, VideoWatch

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.purchases.ledger import Ledger
    from airflow_wan.videos.acceptance import Strictness
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.sidecar import AirflowTask
    from airflow_wan.videos.wan_video import FinishedVideo

log = logging.getLogger(__name__)

BACKSTOP_MARGIN_S = 120.0
"""Seconds by which Airflow's own timeout of the deferral is later than the trigger's deadline. It only ends a wait
whose triggerer is down."""

LONGEST_WAIT_S = 365 * 24 * 3600.0
"""Longest wait, in seconds; a longer or infinite one is shortened to it, because Airflow's database could not store the
date of its end. No gateway keeps a task for so long."""


class WaitingTask(Protocol):
    """What a job needs to know of the operator or sensor that owns it."""

    wan_conn_id: str
    output_path: object
    acceptance: Strictness
    sidecar: bool
    poster: bool
    cancel_on_kill: bool
    execution_timeout: timedelta | None
    executor: str | None
    poll_interval: float | None
    running: tuple[str, WanHook] | None

    @property
    def timeout(self) -> float:
        """What the Wan task may take once it has left the gateway's queue, s."""

    @property
    def queue_timeout(self) -> float:
        """How long the Wan task may be queued at the gateway, s."""

    def defer(self, *, trigger: BaseTrigger, method_name: str, timeout: timedelta) -> NoReturn:
        """Free the worker; `BaseOperator.defer`."""


@dataclass(frozen=True, slots=True)
class VideoJob:
    """What is left to do once a Wan task runs: wait for it, bring its video home, hand its path on.

    :param task: the operator or sensor.
    :param context: the running task's context.
    :param hook: the connection that reaches the Wan task.
    :param destination: where the video goes, checked.
    :param ledger: the purchase record of a task that buys; None for a sensor, which buys nothing.
    """

    task: WaitingTask
    context: Context
    hook: WanHook
    destination: Destination
    ledger: Ledger | None

    def for_purchase(self, purchase: Purchase) -> VideoJob:
        """Return the job with the hook that reaches a purchase's Wan task."""
        return replace(self, hook=self.hook.for_purchase(purchase.intent.wan_conn_id, purchase.intent.base_url))

    def wait(self, watch: VideoWatch, *, deferrable: bool) -> None:
        """Return when the Wan task has succeeded. A task that has ended already needs no triggerer.

        :param watch: the wait so far.
        :param deferrable: whether to free the worker until the trigger fires; this method does not return then.
        :raises WanConnectionError: when the connection cannot be used.
        :raises WanError: what ended the wait without a video.
        """
        hook, wait = self.hook, SingleWait(watch, time.time())
        decision = ask(hook, wait)
        while decision.verdict is Verdict.WAIT and not deferrable:
            time.sleep(wait.pause_s(time.time()))
            hook = hook.renewed() if watch.refused else hook
            decision = ask(hook, wait)
        if decision.error is not None:
            end_wait(decision.error, self.context, self.ledger)
        if decision.verdict is Verdict.WAIT:
            self.defer(watch)

    def wait_instead(self, wan_task_id: str, purchase: Purchase | None) -> Mapping[str, float]:
        """Wait on this worker for a Wan task that the triggerer could not ask for, and return what was seen of it.

        :param wan_task_id: the Wan task.
        :param purchase: what is known of its submit.
        :raises WanError: what ended the wait without a video.
        """
        watch = watch_for(self.task, wan_task_id, purchase)
        self.task.running = wan_task_id, self.hook
        try:
            self.wait(watch, deferrable=False)
        except WanConnectionError as error:
            error.wan_task_id = wan_task_id
            end_wait(error, self.context, self.ledger)
        self.task.running = None  # it has ended: a kill has nothing to cancel
        return watch.seen

    def tell_wait(self, watch: VideoWatch, purchase: Purchase | None) -> None:
        """Leave for the pages what is waited for, and what is known of its submit."""
        if purchase is not None:
            tell_purchase(self.context, purchase, state="waiting", wait_until=watch.patience.latest)
        else:
            tell_wait(self.context, watch.wan_task_id, wait_until=watch.patience.latest)

    def defer(self, watch: VideoWatch) -> NoReturn:
        """Free the worker until the trigger fires; the task then goes on in its ``execute_complete``."""
        trigger = WanVideoTrigger(
            wan_task_id=watch.wan_task_id,
            wan_conn_id=self.hook.wan_conn_id,
            started=watch.started,
            deadline=watch.deadline,
            queue_deadline=watch.queue_deadline,
            latest=watch.latest,
            poll_interval=watch.poll_interval,
            base_url=self.hook.base_url,
            cancel_on_kill=self.task.cancel_on_kill,
            model=watch.kind.model,
            resolution=watch.kind.resolution,
            duration=watch.kind.duration_s,
        )
        backstop = timedelta(seconds=max(0.0, watch.patience.latest - time.time()) + BACKSTOP_MARGIN_S)
        log.info("Wan task %s: waiting without a worker until it has ended", watch.wan_task_id)
        self.task.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)

    def check_before_buying(self, request: VideoRequest) -> None:
        """Check, right before a video is bought, that it can be brought home and replaces nothing that is not ours.

        :param request: the request, with its media as the author named them.
        :raises DestinationError: when the video could not be found by the next task, or would replace a source of its
            own, another task's video, or a file that nobody knows, which a retry cannot change; or when the destination
            cannot be written to, or not be read for now.
        """
        from airflow_wan.videos import before_buying, ownership  # noqa: PLC0415 - pydantic, Pillow; only on a worker

        task, wanted = self.task, {"sidecar": self.task.sidecar, "poster": self.task.poster}
        before_buying.check_names(self.destination, **wanted)
        problem = (
            why_not_kept(task.output_path, task.executor)
            or before_buying.overwritten_source(self.destination, request, **wanted)
            or ownership.why_not_ours(self.destination, self._instance, self._files_of_last_run(), **wanted)
            or self._path_of_a_sibling()
        )
        if problem:
            raise _refused(f"{problem} Nothing was sent.")

    def check_siblings(self) -> None:
        """Check that no other mapped instance of this task and run has told the path of this one.

        :raises DestinationError: when one has, which a retry cannot change.
        """
        if problem := self._path_of_a_sibling():
            raise _refused(problem)

    def _path_of_a_sibling(self) -> str | None:
        """Return a sentence about another mapped instance that has told the path of this one, or None."""
        if (sibling := find_sibling(self.context, self.destination)) is None:
            return None
        tell_path(self.context, None)
        return (
            f"Map index {sibling} of this task writes to {self.destination} too, each over the other's video. Give "
            "each a path of its own, such as clip-{{ ti.map_index }}.mp4 or, with a slash at its end, a folder."
        )

    @property
    def _instance(self) -> AirflowTask | None:
        from airflow_wan.videos import ownership  # noqa: PLC0415 - pydantic; only on a worker

        return ownership.task_instance(_identity(self.context))

    def _files_of_last_run(self) -> frozenset[str]:
        """Return the digests of the files that the last run of this task handed on, as far as Airflow knows it."""
        from airflow_wan.videos import ownership  # noqa: PLC0415 - pydantic; only on a worker

        instance = self.context["ti"]
        try:
            video = instance.xcom_pull(
                task_ids=instance.task_id,
                key=WAN_VIDEO_KEY,
                map_indexes=map_index_of(instance),
                include_prior_dates=True,
            )
        except Exception as error:  # noqa: BLE001 - XCom back ends raise errors of their own; the video is worth more
            log.warning("What the last run of this task handed on is not known: %s", error)
            video = None
        return ownership.files_of(video if isinstance(video, Mapping) else None)

    def deliver(self, wan_task_id: str, seen: Mapping[str, float], purchase: Purchase | None) -> FinishedVideo:
        """Bring a succeeded Wan task's video to the destination.

        :param wan_task_id: the Wan task.
        :param seen: when each of its states was first seen, unix times in s.
        :param purchase: what is known of its submit; the file is compared with what was ordered.
        :raises VideoDownloadFailed: when the file did not arrive, whatever the reason: the video is paid for.
        :raises VideoRejected: when the file is not what was ordered.
        """
        with paid_for(wan_task_id):
            return self._deliver(wan_task_id, seen, purchase)

    def _deliver(self, wan_task_id: str, seen: Mapping[str, float], purchase: Purchase | None) -> FinishedVideo:
        from airflow_wan.videos.delivery import Delivery  # noqa: PLC0415 - heavy, and only on a worker

        delivery = Delivery(
            destination=self.destination,
            account=self.hook.account,
            purchase=purchase,
            acceptance=self.task.acceptance,
            sidecar=self.task.sidecar,
            poster=self.task.poster,
            seen=seen,
            airflow=_identity(self.context),
            since=_run_began(self.context),
            ours=self._files_of_last_run(),
        )
        with self.hook.get_conn() as client:
            video = delivery.deliver(client, wan_task_id)
        if purchase is not None:
            settle(purchase.order, video.facts["settled_cost_usd"])
        return video

    def hand_over(self, video: FinishedVideo) -> str:
        """Push a video's facts to XCom, tell Airflow's lineage and assets of it, and return its path."""
        self.context["ti"].xcom_push(key=WAN_VIDEO_KEY, value=video.facts)
        tell_video(self.context, video.record, reused=video.facts["reused"])
        tell_airflow(self.context, self.hook, video.sources, video.facts)
        return video.facts["path"]

    def known_purchase(self, wan_task_id: str) -> Purchase | None:
        """Return what is known of a Wan task's submit: from this task's ledger, or from a submit task upstream."""
        if self.ledger is None:
            return find_order(self.context, wan_task_id)
        try:
            record = self.ledger.read()
        except LedgerUnreadable as error:  # the video is brought home all the same
            log.warning("What was ordered cannot be read, so the video is compared with nothing: %s", error)
            return None
        return record if isinstance(record, Purchase) and record.wan_task_id == wan_task_id else None


def prepare_job(task: WaitingTask, context: Context, hook: WanHook, ledger: Ledger | None) -> VideoJob:
    """Return a task's job, once everything about its destination is checked that can be checked for nothing.

    :raises InvalidVideoRequest: when there can be no such destination, or a poster is wanted and cannot be made here.
    :raises DestinationError: when the destination cannot be written to.
    :raises WanConnectionError: when the connection, or the proxy that the download needs, cannot be used.
    """
    if task.poster:
        check_poster()
    destination = destination_for(task.output_path, context)
    warn_if_not_shared(destination, task.executor)
    destination.prepare()
    check_download(hook)
    tell_path(context, destination)
    return VideoJob(task, context, hook, destination, ledger)


def _refused(message: str) -> DestinationError:
    """Return the error for a destination that no retry can make a good one."""
    error = DestinationError(message)
    error.retry_can_help = False
    return error


def resume(
    task: WaitingTask, context: Context, event: Mapping[str, Any] | None, ledger: Ledger | None
) -> tuple[VideoJob, FinishedVideo]:
    """Go on with a job after its trigger has fired, and return the job and its video.

    :param task: the operator or sensor, made anew by Airflow.
    :param context: the running task's context.
    :param event: what the trigger sent.
    :param ledger: see `VideoJob`.
    :raises AirflowException: when the event is not understood; it is never taken for a success.
    :raises WanError: what ended the wait without a video, or kept the file from arriving.
    """
    status = (event or {}).get("status")
    if not event or status not in ("success", "error"):
        raise AirflowException(f"The trigger sent an event that this version does not understand (status {status!r}).")
    error = error_from_dict(event.get("error") or {}) if status == "error" else None
    if error is not None and not isinstance(error, WanConnectionError):
        end_wait(error, context, ledger)
    # The trigger asked where the Wan task was submitted.
    hook = WanHook(event.get("wan_conn_id") or task.wan_conn_id, base_url=event.get("base_url"))
    wan_task_id = event["wan_task_id"]
    with paid_for(wan_task_id):
        job = prepare_job(task, context, hook, ledger)
    purchase, seen = job.known_purchase(wan_task_id), event.get("seen") or {}
    if error is not None:
        log.warning("Wan task %s: this worker waits instead of the triggerer, and holds a slot. %s", wan_task_id, error)
        seen = job.wait_instead(wan_task_id, purchase)
    return job, job.deliver(wan_task_id, seen, purchase)


def end_wait(error: WanError, context: Context, ledger: Ledger | None) -> NoReturn:
    """Raise what ended a wait.

    A failed Wan task is not billed: what it has reserved is given back, and its record removed, so that the next try
    may buy.
    """
    if not isinstance(error, VideoTaskFailed):
        error.billed = None  # the Wan task may go on
    elif ledger is not None:
        clear_purchase(ledger, error.wan_task_id)
    elif error.wan_task_id and (purchase := find_order(context, error.wan_task_id)):
        give_back(purchase.order)
    raise error


def seconds_of(name: str, value: timedelta | float) -> float:
    """Return a length of time in s, checked before anything is bought: it ends in the trigger's arguments.

    :param name: the argument that it was given as.
    :param value: the length of time, s or timedelta.
    :returns: that time, at most `LONGEST_WAIT_S`.
    :raises ValueError: when it is not positive.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not seconds > 0:
        raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
    return min(seconds, LONGEST_WAIT_S)


def longest_wait_s(task: WaitingTask) -> float:
    """Return the seconds that a Wan task may take once it has left the gateway's queue.

    A shorter ``execution_timeout`` counts too, since Airflow does not apply it to a deferred task.
    """
    return _within_execution_timeout(task, task.timeout)


def longest_wait_in_all_s(task: WaitingTask) -> float:
    """Return the seconds until a task gives up its wait, however long the Wan task is queued."""
    return _within_execution_timeout(task, task.queue_timeout + task.timeout)


def _within_execution_timeout(task: WaitingTask, seconds: float) -> float:
    seconds = min(seconds, LONGEST_WAIT_S)
    return seconds if task.execution_timeout is None else min(seconds, task.execution_timeout.total_seconds())


def watch_since(
    started: float,
    task: WaitingTask,
    wan_task_id: str,
    poll_interval: float | None,
    *,
    order: Order = NOTHING_KNOWN,
    sees_all: bool = True,
) -> VideoWatch:
    """Return the wait of a task for a Wan task.

    :param started: when the wait began, unix time in s; all its time counts from then.
    :param task: the operator or sensor.
    :param wan_task_id: the Wan task.
    :param poll_interval: time between two reads, s, if the user fixed it.
    :param order: what the Wan task was ordered to make, as far as it is known.
    :param sees_all: whether the watch gets all reads of the wait.
    """
    return VideoWatch(
        wan_task_id,
        started,
        started + longest_wait_s(task),
        poll_interval,
        queue_deadline=started + task.queue_timeout,
        latest=started + longest_wait_in_all_s(task),
        kind=VideoKind(order.model, order.resolution, order.seconds),
        sees_all=sees_all,
    )


def watch_for(task: WaitingTask, wan_task_id: str, purchase: Purchase | None) -> VideoWatch:
    """Return the wait of a task for a Wan task, its time counted from the submit, if that is known, over all tries.

    An earlier try may have used up the time; the author wants another try, so it gets all of the time again.
    """
    started = now = time.time()
    if purchase is not None and purchase.submitted_at + longest_wait_s(task) > now:
        started = purchase.submitted_at
    order = NOTHING_KNOWN if purchase is None else purchase.order
    return watch_since(started, task, wan_task_id, task.poll_interval, order=order)


def _run_began(context: Context) -> float:
    """Return when the DAG run began, as far as Airflow tells, unix time in s."""
    began = getattr(context.get("dag_run"), "start_date", None)
    return began.timestamp() if began else time.time()


def _identity(context: Context) -> dict[str, Any]:
    """Return which try of which task instance this is."""
    instance = context["ti"]
    return {
        "dag_id": instance.dag_id,
        "run_id": instance.run_id,
        "task_id": instance.task_id,
        "map_index": map_index_of(instance),
        "try_number": instance.try_number,
    }
