"""The steps of a video's way home that need no Airflow task: whoever buys or waits takes them."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_wan.exceptions import (
    InvalidVideoRequest,
    PosterError,
    TransferFailed,
    VideoDownloadFailed,
    VideoRejected,
    WanConnectionError,
    WanError,
)
from airflow_wan.net.file_client import check_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.hooks.wan import WanHook
    from airflow_wan.waiting.single_wait import SingleWait
    from airflow_wan.waiting.watch import Decision

log = logging.getLogger(__name__)


def check_download(hook: WanHook) -> None:
    """Check what the download will need: a proxy that it can use, unless the files are in a private network.

    :raises WanConnectionError: when the connection, or the proxy, cannot be used.
    """
    try:
        check_proxy()
    except TransferFailed as error:
        if not hook.account.on_private_network:
            raise WanConnectionError(f"The video could not be downloaded. {error.message}") from error


def check_poster() -> None:
    """Check that a poster can be made here.

    :raises InvalidVideoRequest: when it cannot.
    """
    from airflow_wan.videos import poster  # noqa: PLC0415 - PyAV is heavy, and only on a worker

    try:
        poster.check_poster()
    except PosterError as error:
        raise InvalidVideoRequest([str(error)]) from error


def ask(hook: WanHook, wait: SingleWait) -> Decision:
    """Read the Wan task of a wait once, and log what is new; what is wrong, as a warning.

    :raises WanConnectionError: when the connection cannot be used.
    """
    try:
        with hook.get_conn() as client:
            decision = wait.see_task(client.get_task(wait.watch.wan_task_id), time.time())
        level = logging.WARNING if wait.watch.refused else logging.INFO
    except WanConnectionError:
        raise
    except WanError as error:
        decision = wait.see_error(error, time.time())
        level = logging.WARNING
    for note in decision.notes:
        log.log(level, "Wan task %s: %s", wait.watch.wan_task_id, note)
    return decision


@contextmanager
def paid_for(wan_task_id: str) -> Iterator[None]:
    """Turn an error after a purchase into one that says that the video is paid for, and that a retry may mend."""
    try:
        yield
    except (VideoDownloadFailed, VideoRejected):
        raise
    except WanError as error:
        raise VideoDownloadFailed(
            error.message,
            code=error.code,
            request_id=error.request_id,
            wan_task_id=wan_task_id,
            http_status=error.http_status,
        ) from error
