"""Opens the clips that a film is made of."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import WanError
from airflow_wan.media.frames import opened, pyav

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_wan.videos.destination import Destination

    Place = str | PathLike[str] | ObjectStoragePath


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
