"""What every task that waits for a video shares: the deferral, the resume, the file brought home, the kill."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_wan.api.polling import Decision, Verdict, VideoWatch
from airflow_wan.exceptions import WanError, error_from_dict
from airflow_wan.hooks.wan import WanHook
from airflow_wan.telemetry.lineage import openlineage_of, tell_airflow
from airflow_wan.telemetry.metrics import count_failure
from airflow_wan.videos.delivery import WAN_VIDEO_KEY, Delivery
from airflow_wan.videos.output_path import destination_for, is_shared_by_instances, warn_if_not_shared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.api.client import WanClient
    from airflow_wan.purchases.ledger import Purchase
    from airflow_wan.triggers.wan import WanVideoTrigger
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.reuse import FinishedVideo

BACKSTOP_MARGIN = 120.0
"""s by which Airflow's own deferral timeout lies behind the trigger's deadline: it is for a triggerer that is down."""


if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator as _Task
else:
    _Task = object


class OwnsWanTask(_Task):
    """Mixin for tasks that have a Wan task at the gateway: how its errors are raised, and what a kill does."""

    wan_conn_id: str
    cancel_on_kill: bool

    _running: tuple[str, WanHook] | None = None
    """The Wan task that a kill would leave behind, and the way to it."""

    def raise_for(self, error: WanError) -> NoReturn:
        """Raise it as what Airflow is to make of it."""
        count_failure(error)
        raised = self.for_airflow(error)
        if raised is error:
            raise error
        raise raised from error

    def for_airflow(self, error: WanError) -> Exception:
        """``AirflowFailException`` for what a retry cannot mend, and the rest as it is."""
        return error if error.retry_can_help else AirflowFailException(str(error))

    def on_kill(self) -> None:
        """The running task is killed: cancel the Wan task if it is still queued and the gateway can; one attempt."""
        if self._running is None:
            return
        wan_task_id, hook = self._running
        if not self.cancel_on_kill:
            self.log.info("Wan task %s is left running at the gateway, and may be billed.", wan_task_id)
            return
        try:
            if not hook.account.gateway.can_cancel:
                self.log.warning(
                    "Wan task %s goes on and may be billed: %s cannot cancel.", wan_task_id, hook.account.gateway.title
                )
                return
            with hook.get_conn() as client:
                client.cancel(wan_task_id)
        except Exception as error:  # noqa: BLE001 - whatever fails, the process is about to end
            self.log.warning("Wan task %s could not be canceled and may go on and be billed: %s", wan_task_id, error)
        else:
            self.log.info("Wan task %s is canceled; it will not be billed.", wan_task_id)


class WaitsForVideo(OwnsWanTask):
    """Mixin for operators and sensors that wait for a Wan task and bring its video home."""

    output_path: str | None
    timeout: float
    sidecar: bool
    poster: bool

    _handed_on: FinishedVideo | None = None
    """The video of this run, for OpenLineage."""

    def prepare_destination(self, context: Context) -> Destination:
        """Where the video goes, checked as far as that is free."""
        if is_shared_by_instances(self.output_path, context):
            raise AirflowFailException(
                f"All mapped instances of this task would write to {self.output_path}, each over another's video. Give "
                "each a path of its own, such as clip-{{ ti.map_index }}.mp4 or, with a slash at its end, a folder. "
                "Nothing was sent."
            )
        destination = destination_for(self.output_path, context)
        warn_if_not_shared(destination, self.executor)
        destination.prepare()
        return destination

    def check_extras(self) -> None:
        """Whether what was asked for beside the video can be made here, before the video is bought."""
        if not self.poster:
            return
        from airflow_wan.exceptions import PosterError  # noqa: PLC0415 - only on a worker
        from airflow_wan.videos.acceptance import check_poster  # noqa: PLC0415 - only on a worker

        try:
            check_poster()
        except PosterError as error:
            raise AirflowFailException(f"{error} Nothing was sent.") from error

    def wait_without_worker(self, context: Context, hook: WanHook, watch: VideoWatch, trigger: WanVideoTrigger) -> str:
        """Ask once, for what has ended already needs no triggerer; else free the worker until the trigger fires."""
        with hook.get_conn() as client:
            decision = self.ask(client, watch)
        if decision.error is not None:
            self.end_wait(context, decision.error)
        if decision.verdict is Verdict.SUCCEEDED:
            return self.deliver(context, watch.wan_task_id, hook, watch.seen)
        return self.defer_to(trigger)

    def defer_to(self, trigger: WanVideoTrigger) -> NoReturn:
        """Free the worker until the trigger fires."""
        backstop = timedelta(seconds=max(0.0, trigger.deadline - time.time()) + BACKSTOP_MARGIN)
        self.log.info("Wan task %s: waiting without a worker until it is done", trigger.wan_task_id)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str:
        """Resume on a worker: bring the video home, or raise what ended the wait."""
        status = (event or {}).get("status")
        if not event or status not in ("success", "error"):
            raise AirflowException(f"The trigger sent an event this version does not understand (status {status!r}).")
        if status == "error":
            self.end_wait(context, error_from_dict(event.get("error") or {}))
        # Asked for where the trigger asked, which is where the task was submitted.
        hook = WanHook(event.get("wan_conn_id") or self.wan_conn_id, base_url=event.get("base_url"))
        return self.deliver(context, event["wan_task_id"], hook, event.get("seen") or {})

    def deliver(self, context: Context, wan_task_id: str, hook: WanHook, seen: Mapping[str, float]) -> str:
        """Bring the video home, hand on its path and push its metadata.

        :param seen: when each of the task's states was first seen, unix times in s.
        """
        self._running = None  # it has ended: a kill has nothing to cancel
        delivery = Delivery(
            destination=self.prepare_destination(context),
            account=hook.account,
            purchase=self.known_purchase(context, wan_task_id),
            sidecar=self.sidecar,
            poster=self.poster,
            seen=seen,
            airflow=_identity(context),
        )
        try:
            with hook.get_conn() as client:
                video = delivery.bring_home(client, wan_task_id)
        except WanError as error:
            self.raise_for(error)
        return self.hand_on(context, hook, video)

    def hand_on(self, context: Context, hook: WanHook, video: FinishedVideo) -> str:
        """Hand on a video's path, push its metadata and tell Airflow's lineage and assets of it."""
        context["ti"].xcom_push(key=WAN_VIDEO_KEY, value=video.facts)
        self._handed_on = video
        tell_airflow(context, hook, video.sources, video.facts)
        return str(video.facts["path"])

    def known_purchase(self, context: Context, wan_task_id: str) -> Purchase | None:  # noqa: ARG002 - for tasks that buy
        """What is known of the submit."""
        return None

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """The video and what it was made from; asked for by OpenLineage's own provider."""
        return openlineage_of(self._handed_on.sources, self._handed_on.facts) if self._handed_on else None

    def longest_wait(self) -> float:
        """S until the wait is given up; a shorter ``execution_timeout`` counts, though Airflow defers on past it."""
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    def end_wait(self, context: Context, error: WanError) -> NoReturn:  # noqa: ARG002 - for tasks that keep a ledger
        """Raise what ended the wait without a video."""
        self.raise_for(error)

    def ask(self, client: WanClient, watch: VideoWatch) -> Decision:
        """Ask once and log what is new."""
        try:
            decision = watch.see_task(client.get_task(watch.wan_task_id), time.time())
        except WanError as error:
            decision = watch.see_error(error, time.time())
        for note in decision.notes:
            self.log.info("Wan task %s: %s", watch.wan_task_id, note)
        return decision

    def wait_here(self, context: Context, hook: WanHook, watch: VideoWatch) -> None:
        """Wait on this worker until the task has succeeded."""
        with hook.get_conn() as client:
            while (decision := self.ask(client, watch)).verdict is Verdict.WAIT:
                time.sleep(decision.delay)
        if decision.error is not None:
            self.end_wait(context, decision.error)


def _identity(context: Context) -> dict[str, Any]:
    """Which try of which task instance this is."""
    instance = context["ti"]
    return {
        "dag_id": instance.dag_id,
        "run_id": instance.run_id,
        "task_id": instance.task_id,
        "map_index": -1 if instance.map_index is None else instance.map_index,
        "try_number": instance.try_number,
    }
