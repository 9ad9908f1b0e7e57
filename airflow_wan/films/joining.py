"""Joins clips to one film without encoding them anew: their packets are copied one by one, so nothing loses quality."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import WanError
from airflow_wan.films.reading import open_clip, reason_of, required_pyav, turn_of_clip
from airflow_wan.videos.output_path import named_destination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from PIL.Image import Transpose

    from airflow_wan.films.reading import Place
    from airflow_wan.videos.destination import Destination


def join_clips(clips: Iterable[Place], film: Place) -> str:
    """Join clips to one film, in their order, and return its path or URI.

    The film is as long as its clips together, and takes no more memory than one of them does: pictures and sound are
    copied, not encoded anew. So all clips must be of one kind, as those of one model in one resolution are. The film
    appears at its place complete or not at all; a file that is there is replaced.

    :param clips: paths or URIs of the clips.
    :param film: path or URI of the film, taken as an ``output_path`` is.
    :returns: path or URI of the film.
    :raises WanError: when a clip cannot be read or differs in kind from the first one, when the film cannot be written,
        or when PyAV is not installed.
    """
    if isinstance(clips, (str, os.PathLike)):
        raise WanError("A film is made of a list of clips, and this is one path. Put it into a list.")
    places, target = [named_destination(clip) for clip in clips], named_destination(film)
    if not places:
        raise WanError("A film needs at least one clip.")
    if target.place in {place.place for place in places}:
        raise WanError(f"The film would replace one of its clips, {target}. Give it another path.")
    target.prepare()
    with target.staging() as staged:
        _write_film(places, staged)
        target.publish(staged)
    return str(target)


def _write_film(places: list[Destination], path: Path) -> None:
    av = required_pyav()
    try:
        # Players on the web begin sooner if the header is at the beginning of the file.
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as output:
            film = _Film(output)
            for place in places:
                with open_clip(place) as clip:
                    film.add(clip, str(place))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise WanError(f"The film could not be made: {reason_of(error)}.") from error


class _Film:
    """A film to which one clip after the other is added.

    :param output: the file, opened by PyAV.
    """

    def __init__(self, output: Any) -> None:
        self._output = output
        self._first = ""
        self._kind: Mapping[str, object] = {}
        self._tracks: dict[str, Any] = {}
        self._length_s = Fraction(0)
        self._sound_ends_s = Fraction(0)
        self._packet_s = Fraction(0)

    def add(self, clip: Any, shown: str) -> None:
        """Copy a clip to the end of the film.

        :raises WanError: when it differs in kind from the first one.
        """
        streams = {"picture": clip.streams.video[0]}
        if clip.streams.audio and clip.streams.audio[0].codec_context is not None:
            streams["sound"] = clip.streams.audio[0]
        kind = _kind_of(streams) | {"turn of the picture": _words_of(turn_of_clip(clip))}
        if not self._tracks:
            self._first, self._kind = shown, kind
            self._tracks = {name: self._track_like(one) for name, one in streams.items()}
        _require_same(kind, self._kind, shown, self._first)
        length_s = _length_s(streams["picture"], clip)
        for packet in clip.demux(*streams.values()):
            if packet.dts is None:
                continue  # it has no content; it only ends the stream
            if packet.stream is streams["picture"]:
                self._write("picture", packet, self._length_s)
            elif packet.pts * packet.time_base < length_s:
                self._write_sound(packet)
        self._length_s += length_s

    def _track_like(self, stream: Any) -> Any:
        try:
            return self._output.add_stream_from_template(stream)
        except ValueError:  # of AV1, there is no encoder of the decoder's name
            return self._output.add_stream_from_template(stream, opaque=True)

    def _write_sound(self, packet: Any) -> None:
        """Write a packet of sound where the packet before it ends.

        Each clip begins with sound that an encoder has put before its beginning, and ends with a packet that has more
        sound than its file says: there, two clips overlap by a packet or two. One that lies mostly in the past is left
        out.
        """
        starts_s = self._length_s + packet.pts * packet.time_base
        self._packet_s = max(self._packet_s, (packet.duration or 0) * packet.time_base)
        half_s = self._packet_s / 2
        if self._sound_ends_s and starts_s < self._sound_ends_s - half_s:
            return
        shift_s = self._length_s
        if abs(starts_s - self._sound_ends_s) <= half_s:
            shift_s += self._sound_ends_s - starts_s
        self._sound_ends_s = packet.pts * packet.time_base + shift_s + self._packet_s
        self._write("sound", packet, shift_s)

    def _write(self, track: str, packet: Any, shift_s: Fraction) -> None:
        shift = round(shift_s / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        packet.stream = self._tracks[track]
        self._output.mux(packet)


def _length_s(picture: Any, clip: Any) -> Fraction:
    """Return how long a clip is, by its pictures."""
    if picture.duration:
        return Fraction(picture.duration * picture.time_base)
    return Fraction(clip.duration or 0, 1_000_000)  # FFmpeg's unit of time


def _kind_of(streams: Mapping[str, Any]) -> dict[str, object]:
    """Return what must be the same of all clips of a film, by its name in a message."""
    picture, sound = streams["picture"].codec_context, streams.get("sound")
    kind: dict[str, object] = {
        "picture format": picture.name,
        "picture size": f"{picture.width}x{picture.height} px",
        "pixel format": picture.pix_fmt,
        "settings of the picture's encoder": picture.extradata,
        "sound": "with sound" if sound else "without sound",
    }
    if sound:
        codec = sound.codec_context
        kind |= {
            "sound format": codec.name,
            "samples of sound in a second": codec.sample_rate,
            "channels of sound": codec.layout.name,
            "settings of the sound's encoder": codec.extradata,
        }
    return kind


def _words_of(turn: Transpose | None) -> str:
    return "none" if turn is None else turn.name.lower().replace("_", " ")


def _require_same(kind: Mapping[str, object], first: Mapping[str, object], shown: str, first_shown: str) -> None:
    for name, value in kind.items():
        if value != first.get(name):
            values = "" if isinstance(value, bytes) else f" ({value}, not {first.get(name)})"
            raise WanError(
                f"The clips cannot be joined: {shown} differs from {first_shown} in its {name}{values}. They are "
                "joined as they are, so make all of them with one model and resolution, from pictures of one shape."
            )
