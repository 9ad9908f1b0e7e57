"""Brings a finished video to its destination: read the task → download → accept → publish → leave the record.

Whatever fails in here is repeated in here, or by a retry of the Airflow task; nothing in here buys a new video.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_wan.api.client import tls_context
from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import (
    DestinationError,
    GatewayUnavailable,
    NotAVideoError,
    RateLimited,
    TransferFailed,
    VideoDownloadFailed,
    VideoRejected,
    VideoTaskLost,
)
from airflow_wan.media.mp4 import inspect_video
from airflow_wan.net.retrying import retrying
from airflow_wan.purchases.prices import RATES_AS_OF, charged_cost, settle_cost
from airflow_wan.purchases.record import NOTHING_KNOWN, Order, Purchase
from airflow_wan.telemetry.metrics import count_video
from airflow_wan.videos import sidecar
from airflow_wan.videos.acceptance import Expected, examine, leave_poster
from airflow_wan.videos.download import download
from airflow_wan.videos.wan_video import FinishedVideo, finished_video

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.tasks import WanTask
    from airflow_wan.media.mp4 import VideoFacts
    from airflow_wan.videos.acceptance import Acceptance
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.download import DownloadedFile
    from airflow_wan.videos.sidecar import Sidecar

log = logging.getLogger(__name__)

READ_ATTEMPTS = 5
"""Reads of the task within one try of the Airflow task; after that, Airflow's own retries take over."""

UNPLAYABLE_ATTEMPTS = 2
"""Downloads of a file that arrives and is no video, before it is kept for a person to look at."""

_TASK_INSTANCE = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A file that arrived whole and is a video.

    :param task: the Wan task, as read for this download.
    :param file: the downloaded file.
    :param facts: what the file's header says.
    :param at: when it had arrived, unix time in s.
    """

    task: WanTask
    file: DownloadedFile
    facts: VideoFacts
    at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one Wan task's video is brought to its destination.

    :param destination: where it goes; nothing partial is ever there.
    :param account: the account that submitted the task.
    :param purchase: what is known of the submit; None where nothing is known: the file is then compared with nothing.
    :param sidecar: whether to leave a record beside the video.
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

    @property
    def order(self) -> Order:
        """What was ordered, as far as it is known."""
        return self.purchase.order if self.purchase else NOTHING_KNOWN

    def deliver(self, client: WanClient, wan_task_id: str) -> FinishedVideo:
        """Download a succeeded task's video, and publish it if it is what was ordered.

        :param client: a client of the account that submitted the task.
        :param wan_task_id: the task.
        :raises VideoDownloadFailed: when the file did not arrive whole, or could not be written to its destination.
        :raises VideoRejected: when it is not what was ordered; it is kept beside the destination.
        :raises WanError: when the task cannot be read.
        """
        try:
            with self.destination.staging() as staged:
                arrived = self._fetch(client, wan_task_id, staged)
                acceptance = self._accept(arrived, staged)
                poster = leave_poster(staged, self.destination) if self.poster else None
                self.destination.publish(staged)
        except (DestinationError, OSError) as error:
            raise VideoDownloadFailed(str(error), wan_task_id=wan_task_id) from error
        log.info("The video is at %s (sha256 %s).", self.destination, arrived.file.sha256)
        record = self._record(arrived, acceptance, charged_cost(client, wan_task_id))
        if self.sidecar:
            self._leave_sidecar(record)
        self._count(arrived)
        return finished_video(record, self.destination, poster=poster)

    def _fetch(self, client: WanClient, wan_task_id: str, staged: Path) -> _Arrived:
        """Download until the file is a video; a file that repeatedly is none is rejected."""

        def fetch() -> _Arrived:
            task, file = self._download(client, wan_task_id, staged)
            return _Arrived(task, file, inspect_video(staged), at=time.time())

        try:
            arrived = retrying(on=NotAVideoError, attempts=UNPLAYABLE_ATTEMPTS)(fetch)
        except NotAVideoError as error:
            raise self._rejected([error.message], staged, wan_task_id) from error
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
        """Download the file, and return it with the task as it was read last."""
        reads: list[WanTask] = []

        def fresh_url() -> str:
            reads.append(_read_succeeded(client, wan_task_id))
            return str(reads[-1].video_url)

        log.info("Wan task %s: downloading", wan_task_id)
        try:
            file = download(fresh_url, staged, tls=tls_context(), private_allowed=self.account.on_private_network)
        except TransferFailed as error:
            raise VideoDownloadFailed(error.message, link_refused=error.link_refused, wan_task_id=wan_task_id) from None
        except OSError as error:
            raise VideoDownloadFailed(f"The file could not be written: {error}", wan_task_id=wan_task_id) from error
        return reads[-1], file

    def _accept(self, arrived: _Arrived, staged: Path) -> Acceptance:
        """Compare the file with what was ordered.

        :raises VideoRejected: when it is something else.
        """
        order = self.order
        expected = Expected(duration_s=order.seconds, resolution=order.resolution, audio=order.driven_by_audio)
        acceptance = examine(staged, arrived.facts, expected)
        if acceptance.shortcomings:
            raise self._rejected(acceptance.shortcomings, staged, arrived.task.wan_task_id)
        return acceptance

    def _rejected(self, problems: Sequence[str], staged: Path, wan_task_id: str) -> VideoRejected:
        """Keep a file that is not accepted beside its destination, and return the error that says so."""
        kept_at: str | None = None
        rejected = self.destination.rejected
        try:
            rejected.publish(staged)
            kept_at = str(rejected)
        except DestinationError as error:
            log.warning("The rejected file could not be kept: %s", error)
        return VideoRejected(problems, kept_at=kept_at, wan_task_id=wan_task_id)

    def _leave_sidecar(self, record: Sidecar) -> None:
        try:
            sidecar.write_sidecar(self.destination, record)
        except DestinationError as error:  # the video is worth having without it
            log.warning("The video's record could not be left beside it: %s", error)

    def _record(self, arrived: _Arrived, acceptance: Acceptance, charged_usd: float | None) -> Sidecar:
        """Return all that is known of the video; the record itself removes what signs URLs.

        :param charged_usd: what the gateway says that it charged, USD; by default it is told from what it used.
        """
        task, purchase, order = arrived.task, self.purchase, self.order
        request, gateway = order.request, self.account.gateway.name
        settled = charged_usd
        if settled is None and order.model:
            settled = settle_cost(gateway, order.model, order.resolution, task.usage)
        return sidecar.Sidecar(
            video=sidecar.Video(
                name=str(self.destination).rpartition("/")[2], bytes=arrived.file.bytes, sha256=arrived.file.sha256
            ),
            inspection=sidecar.Inspection(**asdict(arrived.facts), **asdict(acceptance)),
            request=dict(request) or None,
            fingerprint=purchase.intent.fingerprint if purchase else None,
            sources=tuple(sidecar.Source(**source) for source in order.sources),
            generation=sidecar.Generation(
                model=order.model,
                seed=request.get("parameters", {}).get("seed"),
                prompt=order.prompt or task.orig_prompt,
                expanded_prompt=task.actual_prompt,
            ),
            gateway=sidecar.Gateway(
                name=gateway,
                base_url=self.account.base_url,
                wan_task_id=task.wan_task_id,
                request_id=purchase.request_id if purchase else task.request_id,
            ),
            times=self._times(arrived),
            attempts=sidecar.Attempts(airflow_try=self.airflow.get("try_number"), downloads=arrived.file.attempts),
            cost=sidecar.Cost(
                estimated=order.estimated_usd, settled=settled, usage=dict(task.usage), rates_as_of=RATES_AS_OF
            ),
            airflow=sidecar.AirflowTask(**{name: self.airflow[name] for name in _TASK_INSTANCE}),
        )

    def _times(self, arrived: _Arrived) -> dict[str, datetime]:
        """Return when each state was reached: by our own clock, or by the gateway's where it tells."""
        ours = {f"seen_{status}": moment for status, moment in self.seen.items()}
        ours |= {"downloaded": arrived.at, "published": time.time()}
        if self.purchase:
            ours |= {"intent": self.purchase.intent.intent_at, "submitted": self.purchase.submitted_at}
        task = arrived.task
        told = {"accepted": task.submitted_at, "running": task.started_at, "ended": task.ended_at}
        times = {name: datetime.fromtimestamp(moment, UTC) for name, moment in ours.items()}
        times |= {name: moment for name, moment in told.items() if moment is not None}
        return dict(sorted(times.items(), key=lambda pair: pair[1]))

    def _count(self, arrived: _Arrived) -> None:
        submitted = self.purchase.submitted_at if self.purchase else None
        succeeded = self.seen.get(TaskStatus.SUCCEEDED)
        count_video(
            self.account.gateway.name,
            self.order.model,
            seconds=arrived.facts.duration_s,
            size=arrived.file.bytes,
            waited_s=succeeded - submitted if submitted and succeeded else None,
        )


def _read_succeeded(client: WanClient, wan_task_id: str) -> WanTask:
    """Return the task with a fresh URL; a gateway that cannot be read for a moment is asked again.

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

    return retrying(on=(GatewayUnavailable, RateLimited), attempts=READ_ATTEMPTS)(read)
