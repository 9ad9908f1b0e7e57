"""Media that the test folders share."""

from __future__ import annotations

import io
import math
import struct
import wave


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """A sine wave of 440 Hz, as a WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        samples = (int(12_000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(round(seconds * rate)))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return target.getvalue()
