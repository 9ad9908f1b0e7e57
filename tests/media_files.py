"""Images and sounds that several test folders use."""

from __future__ import annotations

import io
import math
import random
import struct
import wave
from fractions import Fraction
from typing import Any

import av
from PIL import Image


def image(mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (640, 360), **options: Any) -> bytes:
    """Return the file of an image that has one colour.

    :param kind: the file format, as Pillow names it.
    :param size: width and height in pixels.
    """
    target = io.BytesIO()
    Image.new(mode, size).save(target, kind, **options)
    return target.getvalue()


def noise(size: tuple[int, int], kind: str, **options: Any) -> bytes:
    """Return the file of an image that cannot be compressed."""
    target = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3)).save(target, kind, **options)
    return target.getvalue()


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """Return a WAV file with a sine wave of 440 Hz.

    :param rate: samples per second.
    """
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        second = struct.pack(f"<{rate}h", *(int(12_000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(rate)))
        sound.writeframes((second * math.ceil(seconds))[: 2 * round(seconds * rate)])
    return target.getvalue()


def encoded_tone(seconds: float, kind: str, codec: str, rate: int = 48_000) -> bytes:
    """Return a sound file with a sine wave of 440 Hz.

    :param kind: the file format, as FFmpeg names it.
    :param codec: FFmpeg's name of the encoder.
    :param rate: samples per second.
    """
    target = io.BytesIO()
    with av.open(target, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        fifo = av.AudioFifo()
        with av.open(io.BytesIO(tone(seconds, rate))) as source:
            resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
            for frame in source.decode(audio=0):
                for piece in resampler.resample(frame):
                    piece.pts = None
                    fifo.write(piece)
        written, size = 0, stream.codec_context.frame_size or 1024
        while piece := fifo.read(min(size, fifo.samples), partial=True) if fifo.samples else None:
            piece.pts, piece.time_base = written, Fraction(1, rate)
            written += piece.samples
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return target.getvalue()
