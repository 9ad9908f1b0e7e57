"""Brings a finished video home: a freshly read task → download → acceptance → its place → the record beside it.

Whatever fails in here is repeated in here, or by a retry of the Airflow task; a new video is never the answer.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.exceptions import (
    DestinationError,
    GatewayUnavailable,
    RateLimited,
    VideoDownloadFailed,
    VideoRejected,
    VideoTaskLost,
)
from airflow_wan.purchases.prices import RATES_AS_OF, settle_cost
from airflow_wan.telemetry.metrics import count_video
from airflow_wan.videos.reuse import FinishedVideo, finished_video

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.media.mp4 import VideoFacts
    from airflow_wan.purchases.ledger import Purchase
    from airflow_wan.videos.acceptance import Acceptance
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.download import DownloadedFile
    from airflow_wan.videos.sidecar import Sidecar

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Reads of the task within one try of the Airflow task, before its own retries take over."""

UNPLAYABLE_ATTEMPTS = 2
"""Downloads of a file that arrives and is no video, before it is kept for a person to look at."""

LONGEST_PAUSE = 30.0
"""s between two of them."""

WAN_VIDEO_KEY = "wan_video"
"""The XCom key of the metadata."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A file that arrived whole and is a video."""

    task: WanTask
    file: DownloadedFile
    facts: VideoFacts


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one task's video is brought home.

    :param destination: where it goes; nothing partial is ever there.
    :param account: the account that submitted the task.
    :param purchase: what is known of the submit; None for a task that only waits.
    :param sidecar: whether to leave a record beside it.
    :param poster: whether to leave its first frame beside it.
    :param seen: when each of the task's states was first seen, unix times in s.
    :param airflow: dag_id, run_id, task_id, map_index and try_number of the Airflow task.
    """

    destination: Destination
    account: Account
    purchase: Purchase | None = None
    sidecar: bool = True
    poster: bool = False
    seen: Mapping[str, float] = field(default_factory=dict)
    airflow: Mapping[str, Any] = field(default_factory=dict)

    def bring_home(self, client: WanClient, wan_task_id: str) -> FinishedVideo:
        """Download a succeeded task's video, and publish it if it is what was asked for.

        :param client: the client of the account that submitted the task.
        :param wan_task_id: the task.
        :raises VideoDownloadFailed: when the file did not arrive whole, or could not be written to its destination.
        :raises VideoRejected: when it is not what was asked for; it is kept beside the destination.
        :raises WanError: when the task cannot be read.
        """
        from airflow_wan.videos.acceptance import leave_poster  # noqa: PLC0415 - only on delivery

        try:
            with self.destination.staging() as staged:
                arrived = self._fetch(client, wan_task_id, staged)
                downloaded_at = time.time()
                acceptance = self._accept(arrived, staged)
                poster = leave_poster(staged, self.destination) if self.poster else None
                self.destination.publish(staged)
        except (DestinationError, OSError) as error:
            raise VideoDownloadFailed(str(error), wan_task_id=wan_task_id) from error
        log.info("The video is at %s (sha256 %s).", self.destination, arrived.file.sha256)
        record = self._record(arrived, acceptance, downloaded_at)
        if self.sidecar:
            self._leave_sidecar(record)
        self._count(arrived)
        return finished_video(record, self.destination, poster=poster)

    def _fetch(self, client: WanClient, wan_task_id: str, staged: Path) -> _Arrived:
        """Download until a video is there; what arrives time and again and is none is rejected."""
        from airflow_wan.exceptions import NotAVideoError  # noqa: PLC0415 - only on delivery
        from airflow_wan.media.mp4 import inspect_video  # noqa: PLC0415 - only on delivery

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(NotAVideoError),
            stop=tenacity.stop_after_attempt(UNPLAYABLE_ATTEMPTS),
            wait=_pause(),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )

        def fetch() -> _Arrived:
            task, file = self._download(client, wan_task_id, staged)
            return _Arrived(task, file, inspect_video(staged))

        try:
            arrived = attempts(fetch)
        except NotAVideoError as error:
            raise self._rejected([str(error)], staged, wan_task_id) from error
        log.info(
            "Wan task %s: downloaded %.1f MB, a video of %s s and %sx%s px",
            wan_task_id,
            arrived.file.bytes / 1e6,
            arrived.facts.duration_s,
            arrived.facts.width,
            arrived.facts.height,
        )
        return arrived

    def _download(self, client: WanClient, wan_task_id: str, staged: Path) -> tuple[WanTask, DownloadedFile]:
        from airflow_wan.api.client import tls_context  # noqa: PLC0415 - httpx loads when first used, not at DAG parse
        from airflow_wan.exceptions import TransferFailed  # noqa: PLC0415
        from airflow_wan.videos.download import download  # noqa: PLC0415

        task: WanTask | None = None

        def fresh_url() -> str:
            nonlocal task
            task = _read_finished(client, wan_task_id)
            return str(task.video_url)

        log.info("Wan task %s: downloading", wan_task_id)
        try:
            file = download(fresh_url, staged, tls=tls_context(), private_allowed=self.account.on_private_network)
        except TransferFailed as error:
            raise VideoDownloadFailed(str(error), link_refused=error.link_refused, wan_task_id=wan_task_id) from None
        except OSError as error:
            raise VideoDownloadFailed(f"The file could not be written: {error}", wan_task_id=wan_task_id) from error
        assert task is not None  # noqa: S101 - a download begins with a fresh URL
        return task, file

    def _accept(self, arrived: _Arrived, staged: Path) -> Acceptance:
        """Compare the file with what was asked for.

        :raises VideoRejected: when it falls short.
        """
        from airflow_wan.videos.acceptance import Expected, examine  # noqa: PLC0415 - only on delivery

        order = self.purchase.order if self.purchase else None
        expected = Expected(
            duration_s=order.seconds if order else None,
            resolution=order.resolution if order else None,
            audio=order.driven_by_audio if order else False,
        )
        acceptance = examine(staged, arrived.facts, expected)
        if acceptance.shortcomings:
            raise self._rejected(acceptance.shortcomings, staged, arrived.task.wan_task_id)
        return acceptance

    def _rejected(self, problems: Sequence[str], staged: Path, wan_task_id: str) -> VideoRejected:
        """Keep a file that is not accepted beside where it would have gone."""
        kept_at: str | None = None
        rejected = self.destination.rejected
        try:
            rejected.publish(staged)
            kept_at = str(rejected)
        except DestinationError as error:
            log.warning("The rejected file could not be kept: %s", error)
        return VideoRejected(problems, kept_at=kept_at, wan_task_id=wan_task_id)

    def _leave_sidecar(self, record: Sidecar) -> None:
        """Leave the record beside the video, which is worth having without it."""
        from airflow_wan.videos.sidecar import write_sidecar  # noqa: PLC0415 - only on delivery

        try:
            write_sidecar(self.destination, record)
        except DestinationError as error:
            log.warning("The video's record could not be left beside it: %s", error)

    def _record(self, arrived: _Arrived, acceptance: Acceptance, downloaded_at: float) -> Sidecar:
        """All that is known of the video, cleaned of what signs URLs."""
        from airflow_wan.videos import sidecar  # noqa: PLC0415 - pydantic, and only on delivery

        task, purchase, order = arrived.task, self.purchase, self.purchase.order if self.purchase else None
        request = order.request if order else {}
        gateway = self.account.gateway.name
        return sidecar.Sidecar(
            video=sidecar.Video(
                name=str(self.destination).rpartition("/")[2], bytes=arrived.file.bytes, sha256=arrived.file.sha256
            ),
            inspection=sidecar.Inspection(**asdict(arrived.facts), **asdict(acceptance)),
            request=dict(request) or None,
            fingerprint=purchase.fingerprint if purchase else None,
            sources=tuple(sidecar.Source(**source) for source in (order.sources if order else ())),
            generation=sidecar.Generation(
                model=request.get("model"),
                seed=request.get("parameters", {}).get("seed"),
                prompt=request.get("input", {}).get("prompt") or task.orig_prompt,
                expanded_prompt=task.actual_prompt,
            ),
            gateway=sidecar.Gateway(
                name=gateway,
                base_url=self.account.base_url,
                wan_task_id=task.wan_task_id,
                request_id=purchase.request_id if purchase else task.request_id,
            ),
            times=self._times(task, downloaded=downloaded_at, published=time.time()),
            attempts=sidecar.Attempts(airflow_try=self.airflow.get("try_number"), downloads=arrived.file.attempts),
            cost=sidecar.Cost(
                estimated=order.estimated_usd if order else None,
                settled=settle_cost(gateway, purchase.model, order.resolution, task.usage)
                if purchase and order
                else None,
                usage=dict(task.usage),
                rates_as_of=RATES_AS_OF,
            ),
            airflow=sidecar.AirflowTask(**{name: self.airflow[name] for name in _TASK_INSTANCE}),
        )

    def _times(self, task: WanTask, **ours: float) -> dict[str, datetime]:
        """When each state was reached: by our own clock, or where the gateway says, by its."""
        purchase = self.purchase
        known = {
            "intent": purchase.intent_at if purchase else None,
            "submitted": purchase.submitted_at if purchase else None,
            **{f"seen_{status}": moment for status, moment in self.seen.items()},
            **ours,
        }
        told = {"accepted": task.submitted_at, "running": task.started_at, "ended": task.ended_at}
        times = {name: datetime.fromtimestamp(moment, UTC) for name, moment in known.items() if moment is not None}
        times |= {name: moment for name, moment in told.items() if moment is not None}
        return dict(sorted(times.items(), key=lambda pair: pair[1]))

    def _count(self, arrived: _Arrived) -> None:
        submitted = self.purchase.submitted_at if self.purchase else None
        succeeded = self.seen.get(TaskStatus.SUCCEEDED)
        count_video(
            self.account.gateway.name,
            self.purchase.model if self.purchase else None,
            seconds=arrived.facts.duration_s,
            size=arrived.file.bytes,
            waited_s=succeeded - submitted if submitted and succeeded else None,
        )


_TASK_INSTANCE = ("dag_id", "run_id", "task_id", "map_index")


def _pause() -> tenacity.wait.wait_base:
    return tenacity.wait_exponential(multiplier=1, max=LONGEST_PAUSE) + tenacity.wait_random(0, 1)


def _read_finished(client: WanClient, wan_task_id: str) -> WanTask:
    """The task with a fresh URL; a gateway that is away for a moment is asked again.

    :raises WanError: when the task cannot be read, or has no file.
    """

    def read() -> WanTask:
        task = client.get_task(wan_task_id)
        if task.status is TaskStatus.UNKNOWN:
            raise VideoTaskLost(
                "The task succeeded, but the gateway no longer knows it.", code=task.code, wan_task_id=wan_task_id
            )
        if task.status is not TaskStatus.SUCCEEDED or not task.video_url:
            raise GatewayUnavailable(
                f"The task has no file yet (the gateway says {task.status_word!r}).", wan_task_id=wan_task_id
            )
        return task

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((GatewayUnavailable, RateLimited)),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=_pause(),
        before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    return attempts(read)
