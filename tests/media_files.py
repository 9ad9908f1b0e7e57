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
    """An image of one colour."""
    target = io.BytesIO()
    Image.new(mode, size).save(target, kind, **options)
    return target.getvalue()


def noise(size: tuple[int, int], kind: str, **options: Any) -> bytes:
    """An image that does not compress."""
    target = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3)).save(target, kind, **options)
    return target.getvalue()


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """A sine wave of 440 Hz, as a WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        second = struct.pack(f"<{rate}h", *(int(12_000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(rate)))
        sound.writeframes((second * math.ceil(seconds))[: 2 * round(seconds * rate)])
    return target.getvalue()
