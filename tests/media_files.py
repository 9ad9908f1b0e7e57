"""Images and sounds that several test folders use."""

from __future__ import annotations

import io
import math
import random
import struct
import wave
from typing import Any

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
