"""The poster of a video: its first frame as a JPEG beside it.

It needs PyAV, the extra ``airflow-provider-wan[inspection]``.
"""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import PosterError
from airflow_wan.media.frames import first_frame, opened, picture_of
from airflow_wan.media.frames import pyav as _pyav
from airflow_wan.videos.ownership import is_one_of
from airflow_wan.videos.sidecar import Poster

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from airflow_wan.videos.destination import Destination

log = logging.getLogger(__name__)

JPEG_QUALITY = 90


def check_poster() -> None:
    """Raise when posters cannot be made on this machine; call it before anything is bought.

    :raises PosterError: when PyAV is not installed.
    """
    _required_pyav()


def make_poster(path: Path) -> bytes:
    """Return a video's first frame as a JPEG.

    :param path: the video.
    :raises PosterError: when PyAV is not installed, or no frame can be decoded.
    """
    av = _required_pyav()
    picture = io.BytesIO()  # Pillow does not tell of a disk that is full
    try:
        with opened(av, path) as container:
            frame = first_frame(container)
            if frame is None:
                raise PosterError("The video has no frame to make a poster of.")
            picture_of(frame).save(picture, "JPEG", quality=JPEG_QUALITY)
    except (av.FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PosterError(f"The poster frame could not be made: {reason}.") from error
    return picture.getvalue()


def leave_poster(video: Path, destination: Destination, ours: Collection[str]) -> Poster | None:
    """Write a video's first frame as a JPEG beside the video. A failure is logged and does not fail the task.

    A file that is there is replaced only if it is such a poster.

    :param video: the video, on local disk.
    :param destination: the video's destination.
    :param ours: digests of the files that this package is known to have left there.
    :returns: the poster; None when it could not be made or written.
    """
    place = destination.poster
    try:
        content = make_poster(video)
        poster = Poster(name=place.name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        is_there = replace(place, may_replace=lambda: is_one_of(place, {poster.sha256, *ours})).write(content)
    except Exception as error:  # noqa: BLE001 - whatever Pillow or PyAV raises, the video is there and paid for
        log.warning("The poster could not be written beside the video, which is not affected: %s", error)
        return None
    if not is_there:
        log.warning("%s stays as it is: it is not known to be a poster of this task. The video has none.", place)
        return None
    return poster


def _required_pyav() -> Any:
    av = _pyav()
    if av is None:
        raise PosterError(
            "A poster frame needs PyAV, which is not installed: pip install 'airflow-provider-wan[inspection]'."
        )
    return av
