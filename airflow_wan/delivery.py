"""Brings a finished video home: a freshly read task → download → inspection → its place → XCom.

Whatever fails in here is repeated in here, or by a retry of the Airflow task; a new video is never the answer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_wan.api.errors import GatewayUnavailable, RateLimited, VideoDownloadFailed, VideoTaskLost, WanError
from airflow_wan.api.tasks import TaskStatus, WanTask
from airflow_wan.files.destination import Destination, DestinationError
from airflow_wan.files.inspection import NotAVideoError, inspect_video

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_wan.api.client import WanClient
    from airflow_wan.files.download import DownloadedFile
    from airflow_wan.files.inspection import VideoFacts

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Reads and downloads within one try of the Airflow task, before its own retries take over."""

LONGEST_PAUSE = 30.0
"""s between two of them."""

WAN_VIDEO_KEY = "wan_video"
"""The XCom key of the metadata."""


def bring_home(
    client: WanClient,
    wan_task_id: str,
    destination: Destination,
    *,
    loopback_allowed: bool,
) -> dict[str, Any]:
    """Download a succeeded task's video and publish it at its destination.

    :param client: the client of the account that submitted the task.
    :param wan_task_id: the task.
    :param destination: where the video goes; nothing partial is ever there.
    :param loopback_allowed: whether the file may come over plain http on loopback, as an emulator's does.
    :returns: the metadata for XCom: path, bytes, sha256, duration_s, width, height, has_audio, wan_task_id,
        request_id, usage.
    :raises VideoDownloadFailed: when the file did not arrive whole, or could not be written to its destination.
    :raises WanError: when the task cannot be read.
    """
    try:
        with destination.staging() as staged:
            task, file, facts = _retrying(NotAVideoError)(
                _fetch, client, wan_task_id, staged, loopback_allowed=loopback_allowed
            )
            destination.publish(staged)
    except (DestinationError, NotAVideoError, OSError) as error:
        raise VideoDownloadFailed(str(error), wan_task_id=wan_task_id) from error
    log.info("The video is at %s (sha256 %s).", destination, file.sha256)
    return {
        "path": str(destination),
        "bytes": file.bytes,
        "sha256": file.sha256,
        "duration_s": facts.duration_s,
        "width": facts.width,
        "height": facts.height,
        "has_audio": facts.has_audio,
        "wan_task_id": wan_task_id,
        "request_id": task.request_id,
        "usage": dict(task.usage),
    }


def _retrying(*errors: type[Exception]) -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(errors),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=1, max=LONGEST_PAUSE) + tenacity.wait_random(0, 1),
        before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
        reraise=True,
    )


def _fetch(
    client: WanClient, wan_task_id: str, staged: Path, *, loopback_allowed: bool
) -> tuple[WanTask, DownloadedFile, VideoFacts]:
    from airflow_wan.api.client import tls_context  # noqa: PLC0415 - httpx loads when first used, not at DAG parse
    from airflow_wan.files.download import download  # noqa: PLC0415
    from airflow_wan.files.file_client import DownloadError  # noqa: PLC0415

    reads: list[WanTask] = []

    def fresh_url() -> str:
        reads.append(_read(client, wan_task_id))
        return reads[-1].video_url or ""

    log.info("Wan task %s: downloading", wan_task_id)
    try:
        file = download(fresh_url, staged, tls=tls_context(), private_allowed=loopback_allowed)
    except DownloadError as error:
        raise VideoDownloadFailed(str(error), link_refused=error.link_refused, wan_task_id=wan_task_id) from None
    except OSError as error:
        raise VideoDownloadFailed(f"The file could not be written: {error}", wan_task_id=wan_task_id) from error
    facts = inspect_video(staged)
    log.info(
        "Wan task %s: downloaded %.1f MB, a video of %s s and %sx%s px",
        wan_task_id,
        file.bytes / 1e6,
        facts.duration_s,
        facts.width,
        facts.height,
    )
    return reads[-1], file, facts


def _read(client: WanClient, wan_task_id: str) -> WanTask:
    """The task with its file's signed URL, which is fresh at every read."""

    def read() -> WanTask:
        task = client.get_task(wan_task_id)
        if task.status is not TaskStatus.SUCCEEDED or not task.video_url:
            raise _no_file(task)
        return task

    return _retrying(GatewayUnavailable, RateLimited)(read)


def _no_file(task: WanTask) -> WanError:
    """Why a task that succeeded a moment ago has no file now."""
    if task.status is TaskStatus.UNKNOWN:
        return VideoTaskLost(
            "The task succeeded, but the gateway no longer knows it.", code=task.code, wan_task_id=task.wan_task_id
        )
    return GatewayUnavailable(
        f"The task has no file yet (the gateway says {task.status_word!r}).", wan_task_id=task.wan_task_id
    )
