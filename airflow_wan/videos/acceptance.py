"""Checks that a finished video is what was requested and can be decoded to its end.

Decoding needs PyAV, the extra ``airflow-provider-wan[inspection]``. Without it, only the file's header is checked.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from airflow_wan.api.resolutions import TIER_PIXELS, nearest_resolution
from airflow_wan.media.frames import MAX_PACKETS, first_frame, opened
from airflow_wan.media.frames import pyav as _pyav

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_wan.media.mp4 import VideoFacts

Strictness = Literal["strict", "warn", "off"]
"""What becomes of a video that differs from the request: it is rejected; it is accepted, and the differences are logged
and recorded; it is not compared at all. A file that is not whole is always rejected."""

DURATION_TOLERANCE_S = 1.0
"""A video is rejected when its length differs from the requested one by this much or more.

Gateways bill whole seconds, so a difference of a second means that another video was made than the one paid for.
Rounding (to whole frames, to the last block of sound) makes a difference of about 0.1 s, whatever the length.
"""


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

    :param shortcomings: sentences that say what was found and what was requested; empty when there is nothing to say.
    :param decoded: whether frames were decoded. Without PyAV, only the header is read.
    :param damage: those of the shortcomings that say that the file is not whole, whatever was requested.
    """

    shortcomings: tuple[str, ...]
    decoded: bool
    damage: tuple[str, ...] = ()


def checked_strictness(value: str) -> Strictness:
    """Return an operator's argument ``acceptance``.

    :raises ValueError: when it is none of the words.
    """
    if value not in get_args(Strictness):
        raise ValueError(f"acceptance must be one of {', '.join(get_args(Strictness))}, got {value!r}")
    return cast("Strictness", value)


def examine(path: Path, facts: VideoFacts, expected: Expected) -> Acceptance:
    """Compare a video with the request, and decode its beginning and its end where PyAV is installed.

    The end is decoded from the last keyframe on, picture and sound, one frame at a time. Only damage that the decoder
    reports is found: most of it in H.264; in HEVC only damage to the structure of the stream.

    :param path: the file.
    :param facts: what `inspect_video` read from its header.
    :param expected: what the request asked for.
    """
    differences, av = _differences(facts, expected), _pyav()
    damage = [] if facts.width and facts.height else ["The video has no picture track."]
    if av and (undecodable := _damage(av, path)):
        damage.append(undecodable)
    return Acceptance((*differences, *damage), decoded=av is not None, damage=tuple(damage))


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
    requested = (resolution or "").upper()
    if requested not in TIER_PIXELS or not facts.width or not facts.height:
        return
    nearest = nearest_resolution(facts.width * facts.height)
    if nearest != requested:
        yield f"The picture has {facts.width}x{facts.height} px, which is {nearest}; {requested} was requested."


def _damage(av: Any, path: Path) -> str | None:
    """Return a sentence that says why a video cannot be decoded, or None when it can."""
    try:
        with opened(av, path) as container:
            first = first_frame(container)
            if first is None or first.is_corrupt:
                return "The first frame cannot be decoded; a complete video was expected."
            return _damage_at_the_end(container)
    except (av.FFmpegError, ValueError) as error:
        return f"The video cannot be decoded to its end: {_reason(error)}; a complete video was expected."


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
    for packet in itertools.islice(container.demux(video, *sound), MAX_PACKETS):
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
