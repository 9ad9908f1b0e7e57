"""What has to be true of a destination before a video is bought for it: nothing that is not ours would be replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_wan.media.sources import LocalFile, StoredObject, find_sources
from airflow_wan.videos.destination import place_of_object, place_of_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.media.sources import Source
    from airflow_wan.videos.destination import Destination


def check_names(destination: Destination, *, sidecar: bool, poster: bool) -> None:
    """Check that everything that may be written beside a video can be: its record, its poster, a rejected video.

    :raises DestinationError: when a name is too long, or a folder, a pipe or a device has it.
    """
    for place in _places(destination, sidecar=sidecar, poster=poster).values():
        place.check_name()
    # What may not replace the file that is at its place gets the longest name.
    destination.beside("x" * 255).rejected.check_name()


def overwritten_source(destination: Destination, request: VideoRequest, *, sidecar: bool, poster: bool) -> str | None:
    """Return a sentence that says which source of a request would be overwritten by what; None if none would be.

    :param destination: where the video goes.
    :param request: the request, with its media as the author named them.
    :param sidecar: whether a record is wanted beside the video.
    :param poster: whether a poster is wanted beside it.
    """
    sources, _ = find_sources(request)
    for what, place in _places(destination, sidecar=sidecar, poster=poster).items():
        for source in sources.values():
            if place.place in _places_of(source) or _is_same_file(place, source):
                return (
                    f"The {what} would go to {place}, which is a source of this request ({getattr(source, 'shown', '')}"
                    "). Choose another path for the video."
                )
    return None


def _places(destination: Destination, *, sidecar: bool, poster: bool) -> dict[str, Destination]:
    places = {"video": destination, "rejected video (if there is one)": destination.rejected}
    places |= {"record": destination.sidecar} if sidecar else {}
    return places | ({"poster": destination.poster} if poster else {})


def _places_of(source: Source) -> Iterator[str]:
    if isinstance(source, LocalFile):
        yield place_of_path(source.path)
    elif isinstance(source, StoredObject):
        yield place_of_object(source.shown, source.path)


def _is_same_file(place: Destination, source: Source) -> bool:
    """Return whether two names are of one local file, such as two hard links, or two spellings of a name."""
    if place.local_path is None or not isinstance(source, LocalFile):
        return False
    try:
        return place.local_path.samefile(source.path)
    except OSError:  # one of them does not exist
        return False
