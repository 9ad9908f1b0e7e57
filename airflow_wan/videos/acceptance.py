"""Whether a finished video is what was asked for, and can be shown from its first frame to its last; and its poster.

Decoding needs PyAV, the extra ``airflow-provider-wan[inspection]``; without it, what the header says is compared.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_wan.api.resolutions import TIER_PIXELS, nearest_resolution
from airflow_wan.exceptions import DestinationError, PosterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_wan.media.mp4 import VideoFacts
    from airflow_wan.videos.destination import Destination

log = logging.getLogger(__name__)

DURATION_TOLERANCE = 1.0
"""s that a video's length may not differ from the one asked for; anything less is rounding.

Gateways bill whole seconds, so from a whole one on another video was made than the one paid for. What rounding there is
(to whole frames, to the sound's last block) comes to about 0.1 s and does not grow with the length.
"""

JPEG_QUALITY = 90

# One frame may not take a gigabyte: 4096x4096, twice the area of 4K.
_MAX_PIXELS = 4096 * 4096

# Packets read from one place: 30 s, the longest video there is, are about 3,200 at 60 frames a second with sound.
_MAX_PACKETS = 10_000

# From this major version on PyAV reads metadata of any encoding, and no longer takes the argument that asks for it.
_PYAV_LENIENT = 19


@dataclass(frozen=True, slots=True)
class Expected:
    """What was asked for.

    :param duration_s: length in s, or None where it is not known.
    :param resolution: ``480P``, ``720P`` or ``1080P``; None, or another word, where no frame size follows from it.
    :param audio: whether there must be sound.
    """

    duration_s: float | None
    resolution: str | None
    audio: bool


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an examination found.

    :param shortcomings: sentences, each with what was found and what was asked for; none when the video is accepted.
    :param decoded: whether frames were decoded, or only the header read, for want of PyAV.
    """

    shortcomings: tuple[str, ...]
    decoded: bool


def examine(path: Path, facts: VideoFacts, expected: Expected) -> Acceptance:
    """Compare a video with what was asked for, and decode its beginning and its end where PyAV is installed.

    The end is decoded from the last keyframe on, picture and sound, one frame at a time. Damage is found as far as the
    decoder notices it: H.264 mostly, HEVC only where the structure of the stream is hurt.

    :param path: the file.
    :param facts: what `inspect_video` read in it.
    :param expected: what was asked for.
    """
    found = list(_differences(facts, expected))
    decoded = _can_decode()
    if decoded and (fault := _fault(path)):
        found.append(fault)
    return Acceptance(tuple(found), decoded)


def check_poster() -> None:
    """Find out, before anything is bought, whether posters can be made here.

    :raises PosterError: when PyAV is missing.
    """
    if not _can_decode():
        raise PosterError(
            "A poster frame needs PyAV, which is not installed: pip install 'airflow-provider-wan[inspection]'."
        )


def save_poster(path: Path, target: Path) -> None:
    """Write a video's first frame as a JPEG.

    :param path: the video.
    :param target: the file to write, whatever its name; it may be left incomplete when this raises.
    :raises PosterError: when PyAV is missing, no frame can be decoded, or the file cannot be written.
    """
    check_poster()
    from av.error import FFmpegError  # noqa: PLC0415

    try:
        with _opened(path) as container:
            frame = _first_frame(container)
            if frame is None:
                raise PosterError("The video has no frame to make a poster of.")
            frame.to_image().save(target, "JPEG", quality=JPEG_QUALITY)
    except (FFmpegError, ValueError, OSError) as error:
        raise PosterError(f"The poster frame could not be made: {_reason(error)}.") from error


def leave_poster(video: Path, destination: Destination) -> str | None:
    """Leave a video's first frame beside its place, as JPEG; the video is worth having without it.

    :param video: the video, on local disk.
    :param destination: its place.
    :returns: the poster's path or URI, or None where there is none: the log says why.
    """
    try:
        with destination.poster.staging() as picture:
            save_poster(video, picture)
            destination.poster.publish(picture)
    except (PosterError, DestinationError, OSError) as error:
        log.warning("The poster could not be left beside the video: %s", error)
        return None
    return str(destination.poster)


def _can_decode() -> bool:
    try:
        import av  # noqa: F401, PLC0415 - an extra, and heavy
    except ImportError:
        return False
    return True


def _differences(facts: VideoFacts, expected: Expected) -> Iterator[str]:
    asked_s, measured_s = expected.duration_s, facts.duration_s
    if asked_s is not None:
        if measured_s is None:
            yield f"The video does not say how long it is; {asked_s:g} s were asked for."
        elif abs(measured_s - asked_s) >= DURATION_TOLERANCE:
            yield f"The video is {measured_s:g} s long; {asked_s:g} s were asked for."
    yield from _difference_of_size(facts, expected.resolution)
    if expected.audio and not facts.has_audio:
        yield "The video has no sound track; sound was asked for."


def _difference_of_size(facts: VideoFacts, resolution: str | None) -> Iterator[str]:
    if not facts.width or not facts.height:
        yield "The video has no picture track."
        return
    asked = (resolution or "").upper()
    if asked not in TIER_PIXELS:
        return
    nearest = nearest_resolution(facts.width * facts.height)
    if nearest != asked:
        yield f"The picture has {facts.width}x{facts.height} px, which is {nearest}; {asked} was asked for."


def _fault(path: Path) -> str | None:
    """What keeps a video from being decoded, if anything does."""
    from av.error import FFmpegError  # noqa: PLC0415

    try:
        with _opened(path) as container:
            first = _first_frame(container)
            if first is None or first.is_corrupt:
                return "The first frame cannot be decoded; a whole video was expected."
            return _fault_at_the_end(container)
    except (FFmpegError, ValueError) as error:
        return f"The video cannot be decoded to its end: {_reason(error)}; a whole one was expected."


def _opened(path: Path) -> Any:
    import av  # noqa: PLC0415

    # Metadata may be in any encoding, and are nobody's business here.
    major = int(av.__version__.partition(".")[0])
    lenient: dict[str, Any] = {} if major >= _PYAV_LENIENT else {"metadata_errors": "replace"}
    container = av.open(str(path), format="mp4", options={"max_pixels": str(_MAX_PIXELS)}, **lenient)
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
            # Decoding with several threads loses what the decoder says of damaged frames.
            stream.codec_context.thread_type = "NONE"
    return container


def _first_frame(container: Any) -> Any:
    if not container.streams.video or container.streams.video[0].codec_context is None:
        return None  # no picture, or one in a format that nobody knows
    for packet in itertools.islice(container.demux(container.streams.video[0]), _MAX_PACKETS):
        for frame in packet.decode():
            return frame
    return None


def _fault_at_the_end(container: Any) -> str | None:
    """Decode from the last keyframe to the end, or from the beginning where that one is no place to begin."""
    video = container.streams.video[0]
    end = (video.start_time or 0) + (video.duration or 0)
    # A keyframe of a stream with intra refresh needs frames from before it.
    return _fault_from(end, container) and _fault_from(0, container)


def _fault_from(start: int, container: Any) -> str | None:
    """What is wrong from the keyframe before a time on; None when the last frame announced comes out."""
    video = container.streams.video[0]
    sound = [stream for stream in container.streams.audio if stream.codec_context is not None]
    container.seek(start, stream=video)
    announced = shown = 0
    for packet in itertools.islice(container.demux(video, *sound), _MAX_PACKETS):
        of_picture = packet.stream.type == "video"
        if of_picture and packet.pts is not None and not packet.is_discard:
            announced = max(announced, packet.pts)
        for frame in packet.decode():
            if frame.is_corrupt:
                return f"The video is damaged at {frame.time or 0:.2f} s; a whole one was expected."
            if of_picture and frame.pts is not None:
                shown = max(shown, frame.pts)
    if shown == announced:
        return None
    return (
        f"The last frame that can be decoded stands at {float(shown * video.time_base):.2f} s; "
        f"one at {float(announced * video.time_base):.2f} s was expected."
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
