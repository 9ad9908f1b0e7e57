"""Opens the clips that a film is made of."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Transpose

from airflow_wan.exceptions import WanError
from airflow_wan.media.frames import first_frame, opened, pyav

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_wan.videos.destination import Destination

    Place = str | PathLike[str] | ObjectStoragePath

_TURNS = {
    (0, 1, -1, 0): Transpose.ROTATE_270,
    (-1, 0, 0, -1): Transpose.ROTATE_180,
    (0, -1, 1, 0): Transpose.ROTATE_90,
    (-1, 0, 0, 1): Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Transpose.TRANSPOSE,
    (0, -1, -1, 0): Transpose.TRANSVERSE,
}
"""What a player does with a picture, by the signs of a, b, c and d of its display matrix (ISO/IEC 14496-12, 6.2.2)."""


@contextlib.contextmanager
def open_clip(place: Destination) -> Iterator[Any]:
    """Provide a clip as a PyAV container; an object of a store is fetched to a temporary file for that time.

    :param place: where the clip is.
    :raises WanError: when PyAV is not installed, or the clip cannot be read, now or while it is open.
    """
    av = required_pyav()
    with place.fetched() as path:
        try:
            container = opened(av, path)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise WanError(f"{place} cannot be read as a video: {reason_of(error)}.") from error
        with container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise WanError(f"{place} cannot be read as a video: it has no picture that can be decoded.")
            yield container


def turn_of(frame: Any) -> Transpose | None:
    """Return how a player turns a frame before it shows it; None for not at all. Clips of phones are turned."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    return _TURNS.get(tuple((number > 0) - (number < 0) for number in (a, b, c, d)))


def turn_of_clip(clip: Any) -> Transpose | None:
    """Return how a player turns the pictures of an open clip, which stays unread: its file is opened once more."""
    with opened(required_pyav(), Path(clip.name)) as again:
        frame = first_frame(again)
        return None if frame is None else turn_of(frame)


def required_pyav() -> Any:
    """Return PyAV.

    :raises WanError: when it is not installed.
    """
    av = pyav()
    if av is None:
        raise WanError("This needs PyAV, which is not installed: pip install 'airflow-provider-wan[films]'.")
    return av


def reason_of(error: Exception) -> str:
    """Return what an error of PyAV or of the operating system says, without its file name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
