"""Saves the frame that a clip ends with, so that the next clip can start from it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import WanError
from airflow_wan.films.reading import open_clip, reason_of, required_pyav, turn_of
from airflow_wan.media.frames import picture_of
from airflow_wan.videos.output_path import named_destination

if TYPE_CHECKING:
    from airflow_wan.films.reading import Place
    from airflow_wan.videos.destination import Destination


def save_last_frame(clip: Place, picture: Place | None = None) -> str:
    """Save the last frame of a clip as a PNG, pixel by pixel as a player shows it, and return its path or URI.

    One frame at a time is in memory. A file that is at the picture's place is replaced, unless it is the clip.

    :param clip: path or URI of the clip.
    :param picture: path or URI of the picture, taken as an ``output_path`` is; by default ``clip.last.png`` beside
        ``clip.mp4``.
    :returns: path or URI of the picture, for the ``first_frame`` of the next clip.
    :raises WanError: when the clip cannot be read to its end, the picture cannot be written or would replace the clip,
        or PyAV is not installed.
    """
    place = named_destination(clip)
    target = _beside(place) if picture is None else named_destination(picture)
    if target.place == place.place:
        raise WanError(f"The picture would replace its clip, {target}. Give it another path.")
    target.prepare()
    content = io.BytesIO()
    with open_clip(place) as container:
        try:
            frame = _last_frame(container)
        except (required_pyav().FFmpegError, ValueError, OSError) as error:
            raise WanError(f"{place} cannot be decoded to its end: {reason_of(error)}.") from error
        if frame is None:
            raise WanError(f"{place} cannot be decoded to its end: its last frame is missing.")
        image, turn = picture_of(frame), turn_of(frame)
        (image if turn is None else image.transpose(turn)).save(content, "PNG")
    target.write(content.getvalue())
    return str(target)


def _beside(place: Destination) -> Destination:
    return replace(place, uri=f"{place.poster.uri.removesuffix('.jpg')}.last.png")


def _last_frame(container: Any) -> Any:
    """Return the last frame that a clip lists; None if it cannot be decoded.

    Decoding begins at the last keyframe. A stream with intra refresh cannot be decoded from there, but from its
    beginning.
    """
    video = container.streams.video[0]
    for start in ((video.start_time or 0) + (video.duration or 0), 0):
        container.seek(start, stream=video)
        listed, last = None, None
        for packet in container.demux(video):
            if packet.pts is not None and not packet.is_discard:
                listed = packet.pts if listed is None else max(listed, packet.pts)
            for frame in packet.decode():
                last = frame
        if last is not None and last.pts == listed and not last.is_corrupt:
            return last
    return None
