"""Checks that a finished video is what was requested and can be decoded to its end; and makes its poster frame.

Decoding needs PyAV, the extra ``airflow-provider-wan[inspection]``. Without it, only the file's header is checked.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_wan.api.resolutions import TIER_PIXELS, nearest_resolution
from airflow_wan.exceptions import PosterError
from airflow_wan.videos.ownership import is_one_of
from airflow_wan.videos.sidecar import Poster

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from airflow_wan.media.mp4 import VideoFacts
    from airflow_wan.videos.destination import Destination

log = logging.getLogger(__name__)

DURATION_TOLERANCE_S = 1.0
"""A video is rejected when its length differs from the requested one by this much or more.

Gateways bill whole seconds, so a difference of a second means that another video was made than the one paid for.
Rounding (to whole frames, to the last block of sound) makes a difference of about 0.1 s, whatever the length.
"""

JPEG_QUALITY = 90

# So that a single frame cannot take a gigabyte of memory. This is twice the area of 4K.
_MAX_FRAME_PX = 4096 * 4096

# Packets that are read after each seek. The longest video, 30 s at 60 frames a second with sound, has about 3,200.
_MAX_PACKETS = 10_000

# From this major version on, PyAV accepts metadata in any encoding, and no longer takes the argument for it.
_PYAV_ANY_METADATA = 19


@dataclass(frozen=True, slots=True)
class Expected:
    """What the request asked for.

    :param duration_s: length in s, None where it is not known.
    :param resolution: ``480P``, ``720P`` or ``1080P``. With None, or any other word, the frame size is not checked.
    :param audio: whether the video must have sound.
    """

    duration_s: float | None
    resolution: str | None
    audio: bool


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The result of an examination.

    :param shortcomings: sentences that say what was found and what was requested; empty when the video is accepted.
    :param decoded: whether frames were decoded. Without PyAV, only the header is read.
    """

    shortcomings: tuple[str, ...]
    decoded: bool


def examine(path: Path, facts: VideoFacts, expected: Expected) -> Acceptance:
    """Compare a video with the request, and decode its beginning and its end where PyAV is installed.

    The end is decoded from the last keyframe on, picture and sound, one frame at a time. Only damage that the decoder
    reports is found: most of it in H.264; in HEVC only damage to the structure of the stream.

    :param path: the file.
    :param facts: what `inspect_video` read from its header.
    :param expected: what the request asked for.
    """
    shortcomings = list(_differences(facts, expected))
    av = _pyav()
    if av and (damage := _damage(av, path)):
        shortcomings.append(damage)
    return Acceptance(tuple(shortcomings), decoded=av is not None)


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
        with _opened(av, path) as container:
            frame = _first_frame(container)
            if frame is None:
                raise PosterError("The video has no frame to make a poster of.")
            frame.to_image().save(picture, "JPEG", quality=JPEG_QUALITY)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise PosterError(f"The poster frame could not be made: {_reason(error)}.") from error
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


def _pyav() -> Any:
    """Return PyAV, or None where it is not installed."""
    try:
        import av  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        return None
    return av


def _required_pyav() -> Any:
    av = _pyav()
    if av is None:
        raise PosterError(
            "A poster frame needs PyAV, which is not installed: pip install 'airflow-provider-wan[inspection]'."
        )
    return av


def _differences(facts: VideoFacts, expected: Expected) -> Iterator[str]:
    requested_s, measured_s = expected.duration_s, facts.duration_s
    if requested_s is not None:
        if measured_s is None:
            yield f"The video's header does not give its length; {requested_s:g} s were requested."
        elif abs(measured_s - requested_s) >= DURATION_TOLERANCE_S:
            yield f"The video is {measured_s:g} s long; {requested_s:g} s were requested."
    yield from _size_differences(facts, expected.resolution)
    if expected.audio and not facts.has_audio:
        yield "The video has no sound track; sound was requested."


def _size_differences(facts: VideoFacts, resolution: str | None) -> Iterator[str]:
    if not facts.width or not facts.height:
        yield "The video has no picture track."
        return
    requested = (resolution or "").upper()
    if requested not in TIER_PIXELS:
        return
    nearest = nearest_resolution(facts.width * facts.height)
    if nearest != requested:
        yield f"The picture has {facts.width}x{facts.height} px, which is {nearest}; {requested} was requested."


def _damage(av: Any, path: Path) -> str | None:
    """Return a sentence that says why a video cannot be decoded, or None when it can."""
    try:
        with _opened(av, path) as container:
            first = _first_frame(container)
            if first is None or first.is_corrupt:
                return "The first frame cannot be decoded; a complete video was expected."
            return _damage_at_the_end(container)
    except (av.FFmpegError, ValueError) as error:
        return f"The video cannot be decoded to its end: {_reason(error)}; a complete video was expected."


def _opened(av: Any, path: Path) -> Any:
    # Metadata may be in any encoding; they are not read here, and must not fail the check.
    major = int(av.__version__.partition(".")[0])
    options: dict[str, Any] = {} if major >= _PYAV_ANY_METADATA else {"metadata_errors": "replace"}
    container = av.open(str(path), format="mp4", options={"max_pixels": str(_MAX_FRAME_PX)}, **options)
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(_MAX_FRAME_PX)}
            # With several threads, the decoder does not mark damaged frames.
            stream.codec_context.thread_type = "NONE"
    return container


def _first_frame(container: Any) -> Any:
    if not container.streams.video or container.streams.video[0].codec_context is None:
        return None  # no picture track, or no decoder for its format
    for packet in itertools.islice(container.demux(container.streams.video[0]), _MAX_PACKETS):
        for frame in packet.decode():
            return frame
    return None


def _damage_at_the_end(container: Any) -> str | None:
    """Decode from the last keyframe to the end; if that fails, from the beginning.

    In a stream with intra refresh, decoding cannot start at a keyframe: it needs frames from before it.
    """
    video = container.streams.video[0]
    end = (video.start_time or 0) + (video.duration or 0)
    return _damage_from(end, container) and _damage_from(0, container)


def _damage_from(start: int, container: Any) -> str | None:
    """Decode from the keyframe before a time to the end.

    :returns: a sentence that says what is wrong; None when the last frame that the file lists can be decoded.
    """
    video = container.streams.video[0]
    sound = [stream for stream in container.streams.audio if stream.codec_context is not None]
    container.seek(start, stream=video)
    last_listed = last_decoded = 0
    for packet in itertools.islice(container.demux(video, *sound), _MAX_PACKETS):
        is_picture = packet.stream.type == "video"
        if is_picture and packet.pts is not None and not packet.is_discard:
            last_listed = max(last_listed, packet.pts)
        for frame in packet.decode():
            if frame.is_corrupt:
                return f"The video is damaged at {frame.time or 0:.2f} s; a complete video was expected."
            if is_picture and frame.pts is not None:
                last_decoded = max(last_decoded, frame.pts)
    if last_decoded == last_listed:
        return None
    return (
        f"The last frame that can be decoded is at {float(last_decoded * video.time_base):.2f} s; "
        f"one at {float(last_listed * video.time_base):.2f} s was expected."
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
