"""Brings a finished video to its destination: read the task → download → accept → publish → leave the record.

Whatever fails in here is repeated in here, or by a retry of the Airflow task; nothing in here buys a new video.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from dataclasses import asdict, dataclass, field, replace
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
from airflow_wan.redaction import shareable
from airflow_wan.telemetry.metrics import count_video
from airflow_wan.videos import sidecar
from airflow_wan.videos.acceptance import Expected, examine
from airflow_wan.videos.download import download
from airflow_wan.videos.ownership import NewVideo, files_of, is_one_of, task_instance
from airflow_wan.videos.poster import leave_poster
from airflow_wan.videos.wan_video import FinishedVideo, finished_video

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.tasks import WanTask
    from airflow_wan.media.mp4 import VideoFacts
    from airflow_wan.videos.acceptance import Acceptance, Strictness
    from airflow_wan.videos.destination import Destination
    from airflow_wan.videos.download import DownloadedFile
    from airflow_wan.videos.sidecar import Sidecar

log = logging.getLogger(__name__)

READ_ATTEMPTS = 5
"""Reads of the task within one try of the Airflow task; after that, Airflow's own retries take over."""

UNPLAYABLE_ATTEMPTS = 2
"""Downloads of a file that arrives and is no video, before it is kept for a person to look at."""


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
    :param acceptance: what becomes of a video that differs from the request.
    :param sidecar: whether to leave a record beside the video.
    :param poster: whether to leave its first frame beside it.
    :param seen: when each of the task's states was first seen, unix times in s.
    :param airflow: dag_id, run_id, task_id, map_index and try_number of the Airflow task; empty for a command.
    :param since: when the DAG run began, unix time in s: the video was ordered after that.
    :param ours: digests of the files that an earlier run of the Airflow task handed on; it may replace them.
    :param tell_bytes: called during the download, with the number of bytes that have arrived and of all, if known.
    """

    destination: Destination
    account: Account
    purchase: Purchase | None = None
    acceptance: Strictness = "strict"
    sidecar: bool = True
    poster: bool = False
    seen: Mapping[str, float] = field(default_factory=dict)
    airflow: Mapping[str, Any] = field(default_factory=dict)
    since: float = field(default_factory=time.time)
    ours: frozenset[str] = frozenset()
    tell_bytes: Callable[[int, int | None], None] | None = None

    @property
    def order(self) -> Order:
        """What was ordered, as far as it is known."""
        return self.purchase.order if self.purchase else NOTHING_KNOWN

    def deliver(self, client: WanClient, wan_task_id: str) -> FinishedVideo:
        """Download a succeeded task's video, and publish it if it is accepted.

        :param client: a client of the account that submitted the task.
        :param wan_task_id: the task.
        :raises VideoDownloadFailed: when the file did not arrive whole, could not be written to its destination, or
            may not replace what is there; then it is kept beside it.
        :raises VideoRejected: when it is not what was ordered; it is kept beside the destination.
        :raises WanError: when the task cannot be read.
        """
        try:
            with self.destination.staging() as staged:
                arrived = self._fetch(client, wan_task_id, staged)
                acceptance = self._accept(arrived, staged)
                replaced = _record_there(self.destination)
                place = self._publish(staged, arrived)
                log.info("The video is at %s (sha256 %s).", place, arrived.file.sha256)
                record = self._record_or_less(client, arrived, acceptance, place)
                record = self._leave_files_beside(
                    record, replaced if place == self.destination else None, staged, place
                )
        except (DestinationError, OSError) as error:
            raise VideoDownloadFailed(str(error), wan_task_id=wan_task_id) from error
        if place != self.destination:
            raise self._kept_beside(place, arrived)
        with contextlib.suppress(TypeError):  # a time that is none; metrics themselves never fail
            self._count(arrived)
        return finished_video(
            record, place, poster=record.poster if self.poster else None, was_bought=True if self.purchase else None
        )

    def _leave_files_beside(
        self, record: Sidecar, replaced: Sidecar | None, staged: Path, place: Destination
    ) -> Sidecar:
        """Leave poster and record beside a video, and return the record.

        Those of the video that was replaced would tell of another one, so they are replaced too, wanted or not.
        """
        if self.poster or (replaced is not None and replaced.poster is not None):
            poster = leave_poster(place.local_path or staged, place, self.ours | files_of(replaced))
            record = record.model_copy(update={"poster": poster})
        if self.sidecar or replaced is not None:
            _leave_sidecar(record, place)
        return record

    def _publish(self, staged: Path, arrived: _Arrived) -> Destination:
        """Put a video at its destination, or beside it if another task's video is there; return where it is."""
        video = NewVideo(
            wan_task_id=arrived.task.wan_task_id,
            sha256=arrived.file.sha256,
            task=task_instance(self.airflow),
            order=self.order,
            ordered_at=self.purchase.intent.intent_at if self.purchase else self.since,
            ours=self.ours,
        )
        if replace(self.destination, may_replace=lambda: video.may_replace(self.destination)).publish(staged):
            return self.destination
        return _keep(staged, arrived.file.sha256, _places_beside(self.destination, video.wan_task_id, video.sha256))

    def _kept_beside(self, place: Destination, arrived: _Arrived) -> VideoDownloadFailed:
        return VideoDownloadFailed(
            f"At {self.destination} is another video or file, which stays there: it belongs to another task, or came "
            f"while this video was made. This video is kept at {place}. Give each task a path of its own.",
            kept_at=str(place),
            kept_sha256=arrived.file.sha256,
            wan_task_id=arrived.task.wan_task_id,
        )

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
        account = self.account

        def fresh_url() -> str:
            reads.append(_read_succeeded(client, wan_task_id))
            return str(reads[-1].video_url)

        log.info("Wan task %s: downloading", wan_task_id)
        try:
            file = download(
                fresh_url,
                staged,
                tls=tls_context(),
                private_allowed=account.on_private_network,
                connect_timeout_s=account.connect_timeout,
                read_timeout_s=account.read_timeout,
                total_s=account.total_timeout,
                least_speed=account.least_speed,
                tell=self.tell_bytes,
            )
        except TransferFailed as error:
            raise VideoDownloadFailed(error.message, link_refused=error.link_refused, wan_task_id=wan_task_id) from None
        except OSError as error:
            raise VideoDownloadFailed(f"The file could not be written: {error}", wan_task_id=wan_task_id) from error
        return reads[-1], file

    def _accept(self, arrived: _Arrived, staged: Path) -> Acceptance:
        """Compare the file with what was ordered.

        :raises VideoRejected: when it is not whole, or is something else and that matters.
        """
        order = NOTHING_KNOWN if self.acceptance == "off" else self.order
        expected = Expected(duration_s=order.seconds, resolution=order.resolution, audio=order.driven_by_audio)
        acceptance = examine(staged, arrived.facts, expected)
        if acceptance.damage or (acceptance.shortcomings and self.acceptance == "strict"):
            raise self._rejected(acceptance.shortcomings, staged, arrived.task.wan_task_id)
        for shortcoming in acceptance.shortcomings:
            log.warning(
                "Wan task %s: %s The video is accepted all the same (acceptance is %s).",
                arrived.task.wan_task_id,
                shortcoming,
                self.acceptance,
            )
        return acceptance

    def _rejected(self, problems: Sequence[str], staged: Path, wan_task_id: str) -> VideoRejected:
        """Keep a file that is not accepted beside its destination, and return the error that says so.

        It replaces no other file: that may be what another task has paid for.
        """
        kept_at: str | None = None
        digest: str | None = None
        try:
            with staged.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            beside = [place.rejected for place in _places_beside(self.destination, wan_task_id, digest)]
            kept_at = str(_keep(staged, digest, [self.destination.rejected, *beside]))
        except DestinationError as error:
            log.warning("The rejected file could not be kept: %s", error)
        return VideoRejected(problems, kept_at=kept_at, kept_sha256=digest, wan_task_id=wan_task_id)

    def _record_or_less(
        self, client: WanClient, arrived: _Arrived, acceptance: Acceptance, place: Destination
    ) -> Sidecar:
        """Return all that can be recorded of the video. The video is at its place: nothing in here may fail it."""
        essential = self._essential_record(arrived, acceptance, place)
        try:
            return essential.model_copy(update=self._details(client, arrived))
        except Exception as error:  # noqa: BLE001 - a record or a stranger's answer that nobody thought of
            log.warning(
                "The request, the times and the cost of the video are left out of its record and of wan_video: they "
                "cannot be recorded (%s).",
                type(error).__name__,
            )
            return essential

    def _essential_record(self, arrived: _Arrived, acceptance: Acceptance, place: Destination) -> Sidecar:
        return sidecar.Sidecar(
            video=sidecar.Video(name=place.name, bytes=arrived.file.bytes, sha256=arrived.file.sha256),
            inspection=sidecar.Inspection(
                **asdict(arrived.facts), decoded=acceptance.decoded, shortcomings=acceptance.shortcomings
            ),
            gateway=sidecar.Gateway(
                name=self.account.gateway.name,
                base_url=self.account.base_url,
                wan_task_id=arrived.task.wan_task_id,
            ),
            airflow=task_instance(self.airflow),
        )

    def _details(self, client: WanClient, arrived: _Arrived) -> dict[str, Any]:
        """Return the rest of the record; the record itself removes what signs URLs."""
        task, purchase, order = arrived.task, self.purchase, self.order
        request, gateway = order.request, self.account.gateway.name
        usage = _recordable("The usage that the gateway tells", dict(task.usage))
        settled = charged_cost(client, task.wan_task_id)
        if settled is None and order.model:
            settled = settle_cost(gateway, order.model, order.resolution, usage)
        return {
            "request": _recordable("The request", dict(request) or None),
            "fingerprint": purchase.intent.fingerprint if purchase else None,
            "sources": tuple(sidecar.Source(**source) for source in order.sources),
            "generation": sidecar.Generation(
                model=order.model,
                seed=request.get("parameters", {}).get("seed"),
                prompt=order.prompt or task.orig_prompt,
                expanded_prompt=task.actual_prompt,
            ),
            "gateway": sidecar.Gateway(
                name=gateway,
                base_url=self.account.base_url,
                wan_task_id=task.wan_task_id,
                request_id=_recordable("The request id", purchase.request_id if purchase else task.request_id),
            ),
            "times": self._times(arrived),
            "attempts": sidecar.Attempts(airflow_try=self.airflow.get("try_number"), downloads=arrived.file.attempts),
            "cost": sidecar.Cost(estimated=order.estimated_usd, settled=settled, usage=usage, rates_as_of=RATES_AS_OF),
        }

    def _times(self, arrived: _Arrived) -> dict[str, datetime]:
        """Return when each state was reached: by our own clock, or by the gateway's where it tells."""
        moments: dict[str, float | datetime | None] = {f"seen_{status}": at for status, at in self.seen.items()}
        moments |= {"downloaded": arrived.at, "published": time.time()}
        if self.purchase:
            moments |= {"intent": self.purchase.intent.intent_at, "submitted": self.purchase.submitted_at}
        task = arrived.task
        told = {"accepted": task.submitted_at, "running": task.started_at, "ended": task.ended_at}
        moments |= {name: at for name, at in told.items() if at is not None}
        times = {name: _utc(name, at) for name, at in moments.items()}
        return dict(sorted(((name, at) for name, at in times.items() if at), key=lambda pair: pair[1]))

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


def _places_beside(destination: Destination, wan_task_id: str, sha256: str) -> list[Destination]:
    """Return where a video may be kept that may not be at its destination; nothing else has the last of these names."""
    return [destination.beside(wan_task_id), destination.beside(f"{wan_task_id}-{sha256[:16]}")]


def _keep(staged: Path, sha256: str, places: Sequence[Destination]) -> Destination:
    """Put a file at the first of some places where it replaces nothing but itself, and return that place.

    :raises DestinationError: when it could not be written, or all of them are taken.
    """
    for place in places:
        if replace(place, may_replace=lambda place=place: is_one_of(place, {sha256})).publish(staged):  # type: ignore[misc]
            return place
    raise DestinationError(f"At {', '.join(map(str, places))} are other files, which stay there.")


def _record_there(destination: Destination) -> Sidecar | None:
    """Return the record of what is at the destination; None if it cannot be read, for it is only worth a record."""
    try:
        return sidecar.read_sidecar(destination)
    except DestinationError as error:
        log.warning("The record at %s cannot be read, and counts as none: %s", destination.sidecar, error)
        return None


def _recordable(what: str, value: Any) -> Any:
    """Return JSON as it can be recorded and handed on, and log if that is less than it was."""
    recorded = shareable(value)
    if recorded != value:
        log.info("%s is recorded without secrets, and without what cannot be stored.", what)
    return recorded


def _utc(name: str, moment: float | datetime | None) -> datetime | None:
    """Return a time in UTC; None for one that there is not in UTC, such as one of the year 1 in China."""
    try:
        if not isinstance(moment, datetime):
            return datetime.fromtimestamp(float(moment), UTC)  # type: ignore[arg-type] # None raises TypeError
        return moment.astimezone(UTC)
    except (ArithmeticError, ValueError, OSError, TypeError) as error:
        log.warning("The time %r is left out of the record: %s", name, error)
        return None


def _leave_sidecar(record: Sidecar, place: Destination) -> None:
    try:
        sidecar.write_sidecar(place, record)
    except Exception as error:  # noqa: BLE001 - the video is there, and worth having without it
        log.warning("The video's record could not be left beside it: %s", error)


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
