"""Makes a copy of a sound that fits the gateway's limits: a WAV of 16 bits, whatever the sound was stored as.

It needs PyAV, the extra ``airflow-provider-wan[adapt]``. A sound may come from a stranger: only formats that hold the
sound themselves are opened, and no more of it is decoded than may be sent.
"""

from __future__ import annotations

import io
import time
import wave
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_wan.api.media_items import DURATION_TOLERANCE_S
from airflow_wan.media.fitted_pictures import INSTALL, CannotFitError, Fitted
from airflow_wan.media.frames import pyav

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.media.probing import AudioFacts

# FFmpeg's names. Playlists and the like are not among them: FFmpeg would open the files and addresses that they name.
_FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,matroska,mov,mp3,ogg,tta,w64,wav,wv"

_LOWEST_RATE, _HIGHEST_RATE = 8_000, 48_000  # samples a second
_BYTES_PER_SAMPLE = 2  # of each channel

_MOST_BROKEN_PACKETS = 10
"""Many a file is cut off in its last packet, or has something else than sound before its first one; players go on."""

MAX_DECODING_S = 60.0
"""Seconds after which decoding ends, whatever has been decoded by then."""


def fit_sound(file: BinaryIO, *, facts: AudioFacts | None, longest_s: float, cut: bool) -> Fitted:
    """Return a copy of a sound as WAV.

    :param file: the sound, or a video with sound, opened.
    :param facts: what its header says; None if it is of none of the formats that are measured.
    :param longest_s: how long the copy may be, in seconds.
    :param cut: whether the end of a longer sound is cut off.
    :raises CannotFitError: when the sound is too long and must not be cut, or when there is none.
    :raises Exception: when the file cannot be read or decoded; PyAV raises a dozen kinds.
    """
    if not cut and facts is not None and (facts.duration_s or 0) > longest_s + DURATION_TOLERANCE_S:
        raise _too_long(longest_s)
    av = pyav()
    if av is None:
        raise CannotFitError(f"this needs PyAV, which is not installed: {INSTALL}")
    with av.open(file, options={"format_whitelist": _FORMATS}) as container:
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            raise CannotFitError("no sound that can be decoded is in it")
        source = container.streams.audio[0]
        rate = min(max(source.codec_context.sample_rate, _LOWEST_RATE), _HIGHEST_RATE)
        channels = 1 if source.codec_context.channels == 1 else 2
        kept_s = longest_s if cut else longest_s + DURATION_TOLERANCE_S
        most_bytes = int(kept_s * rate) * channels * _BYTES_PER_SAMPLE
        samples = _decoded(av, container, rate, channels, most_bytes)
        changes = [f"converted from {_name_of(container, facts)} to WAV"]
    if len(samples) > most_bytes:
        if not cut:
            raise _too_long(longest_s)
        del samples[most_bytes:]
        changes.append(f"cut to its first {longest_s:g} s")
    if not samples:
        raise CannotFitError("no sound that can be decoded is in it")
    return Fitted(_wav(bytes(samples), rate, channels), ".wav", tuple(changes))


def _decoded(av: Any, container: Any, rate: int, channels: int, most_bytes: int) -> bytearray:
    """Return the samples of the first sound track, some more than may be kept at most."""
    layout = "mono" if channels == 1 else "stereo"
    resampler = av.AudioResampler(format="s16", layout=layout, rate=rate)
    samples, ends_at = bytearray(), time.monotonic() + MAX_DECODING_S
    for frame in _frames_and_end(av, container):
        for piece in resampler.resample(frame):
            samples += bytes(piece.planes[0])[: piece.samples * channels * _BYTES_PER_SAMPLE]
        if len(samples) > most_bytes:
            break
        if time.monotonic() > ends_at:
            raise CannotFitError(f"it takes longer than {MAX_DECODING_S:g} s to decode")
    return samples


def _frames_and_end(av: Any, container: Any) -> Iterator[Any]:
    """Yield each frame of sound, and None at the end: the resampler then gives what it still holds."""
    broken = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            broken += 1
            if broken > _MOST_BROKEN_PACKETS:
                raise
            continue
        yield from frames
    yield None


def _wav(samples: bytes, rate: int, channels: int) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(_BYTES_PER_SAMPLE)
        sound.setframerate(rate)
        sound.writeframes(samples)
    return target.getvalue()


def _name_of(container: Any, facts: AudioFacts | None) -> str:
    """Return the name of a sound's format, for people."""
    return facts.format if facts else str(container.format.name).partition(",")[0].upper()


def _too_long(longest_s: float) -> CannotFitError:
    return CannotFitError(f"it is longer than {longest_s:g} s, and its end is cut off only with cut_audio=True")
