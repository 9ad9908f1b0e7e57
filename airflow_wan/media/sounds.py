"""Measures WAV and MPEG sound: which of them a file is, and how long it lasts.

Headers are not believed where they can be wrong. Of a WAV, the bytes of sound that are really there count. Of an MP3,
the frames are counted: without a complete list of them its length is only a guess from the bit rate of some, and such a
list in the first frame covers only the first of several files that were put together.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.exceptions import MediaUnreadable, NotMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

APE_MAGIC = b"APETAGEX"
"""How a tag begins that some programs put before the first frame of an MP3."""

WAV_MAGIC = (b"RIFF", b"RF64", b"BW64")
"""How a WAV begins; the two others are for more than 4 GB (EBU Tech 3306, ITU-R BS.2088)."""


# --------------------------------------------------------------------------------------------------------------------
# WAV

_MAX_CHUNKS = 100  # before the sound; most files have one or two

_USUAL_CHUNKS = (b"fmt ", b"data", b"fact", b"LIST")

# Formats whose samples have a fixed size: PCM, floating point, A-law, mu-law, and the form that names one of these.
_PLAIN_FORMATS = frozenset({1, 3, 6, 7, 0xFFFE})

_MP3_IN_WAV = 0x55

_IN_DS64 = 0xFFFF_FFFF
"""The size of a chunk whose size of 64 bits stands in the chunk ``ds64`` (EBU Tech 3306)."""


@dataclass(frozen=True, slots=True)
class _WavFormat:
    kind: int
    rate: int
    bytes_per_s: int
    bytes_per_sample: int
    """Of all channels together."""

    @property
    def is_sensible(self) -> bool:
        has_samples = self.kind not in _PLAIN_FORMATS or self.bytes_per_sample > 0
        return 1000 <= self.rate <= 1_000_000 and has_samples  # noqa: PLR2004 - samples a second

    @property
    def speed(self) -> int:
        """Bytes of sound in a second; 0 if that is not known."""
        return self.rate * self.bytes_per_sample if self.kind in _PLAIN_FORMATS else self.bytes_per_s


def wav_seconds(file: BinaryIO, size: int) -> float | None:
    """Return how long a WAV lasts, in seconds; None if it is compressed, and does not tell how much.

    A program that writes into a pipe cannot go back to write the size: it announces 0, or 4 GB. The sound then goes on
    to the end of the file.

    :param file: the file, of which only the heads of chunks are read.
    :param size: its size, in bytes.
    :raises NotMediaError: when it holds no format, or no sound.
    """
    found: _WavFormat | None = None
    long_size = 0
    for kind, at, announced in _wav_chunks(file, size):
        if kind == b"ds64":
            file.seek(at + 8)
            long_size = int.from_bytes(file.read(8), "little")
        elif kind == b"fmt " and announced >= 16:  # noqa: PLR2004 - the fields that every format has
            file.seek(at)
            found = _wav_format(file.read(16))
        elif kind == b"data" and found is not None:
            told = long_size if announced == _IN_DS64 and long_size else announced
            length = _sound_bytes(file, at, told, size)
            if not length:
                continue
            if found.kind == _MP3_IN_WAV and (sound := mpeg_sound(file, at + length, start=at)):
                return sound.seconds
            return length / found.speed if found.speed else None
    if found is None:
        raise NotMediaError("a sound file with a readable header")
    raise NotMediaError("a sound file with sound in it")


def _wav_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk, where its content begins, and how many bytes it announces."""
    at = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or at >= size:  # noqa: PLR2004 - kind and size
            return
        kind, announced = struct.unpack("<4sI", head)
        yield kind, at + 8, announced
        at += 8 + announced
        if announced % 2:  # a byte more, which some programs forget
            file.seek(at)
            at += file.read(4) not in _USUAL_CHUNKS


def _wav_format(fields: bytes) -> _WavFormat | None:
    """Return the format that a WAV declares; None if nothing can be played by it."""
    kind, channels, rate, bytes_per_s, _, bits = struct.unpack("<HHIIHH", fields)
    found = _WavFormat(kind, rate, bytes_per_s, channels * ((bits + 7) // 8))
    return found if found.is_sensible and channels <= 256 else None  # noqa: PLR2004 - no more are known


def _sound_bytes(file: BinaryIO, at: int, announced: int, size: int) -> int:
    """Return how many bytes of sound a data chunk has."""
    rest = max(0, size - at)
    if announced:
        return min(announced, rest)
    file.seek(at)
    head = file.read(8)
    is_chunk = len(head) == 8 and head[:4].isascii() and head[:4].decode("ascii", "replace").isprintable()  # noqa: PLR2004
    return 0 if is_chunk and 8 + int.from_bytes(head[4:], "little") <= rest else rest


# --------------------------------------------------------------------------------------------------------------------
# MPEG sound

# Bit rates of frames in kbit/s, by their index from 1 (ISO/IEC 11172-3 and 13818-3), by "MPEG-1?" and layer.
_KBIT = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_NAMES = {1: "MP1", 2: "MP2", 3: "MP3", 0: "AAC"}

_FIRST_FRAMES = 3  # so many in a row are no chance
_SEARCHED_BYTES = 64 * 1024  # of what some programs put between the tag and the first frame
_MAX_STEPS = 300_000  # frames, and places looked at between them: two hours of sound, and a second of work
_ENOUGH_BYTES = 1024 * 1024  # of frames, to judge the rest by
_SKIPPED_BYTES = 512  # looked at together, between frames
_FIRST_FRAME_LISTS = (b"Xing", b"Info", b"VBRI")  # of an encoder; it holds no sound


@dataclass(frozen=True, slots=True)
class _Frame:
    """The head of one frame: its stream's kind, its length in bytes, its samples and its sampling rate in Hz."""

    stream: tuple[int, int, int]
    length: int
    samples: int
    rate: int

    @property
    def name(self) -> str:
        return _NAMES[self.stream[1]]


@dataclass(frozen=True, slots=True)
class MpegSound:
    """A file of MPEG frames.

    :param format: ``MP3``, ``MP2``, ``MP1``, or ``AAC`` for AAC in an ADTS stream.
    :param seconds: its length; None if its frames could not be counted.
    """

    format: str
    seconds: float | None


def mpeg_sound(file: BinaryIO, size: int, start: int = 0) -> MpegSound | None:
    """Return what a file of MPEG frames is, after the tags at its beginning; None if it has no frames.

    Text in UTF-16 begins like a frame; that others follow exactly at its end is no chance.

    :param file: the file. All of it is read in order to count its frames, as far as the file allows.
    :param size: where they end, in bytes.
    :param start: where they begin.
    """
    start = _after_tags(file, start)
    file.seek(start)
    content = file.read(_SEARCHED_BYTES)
    offset = content.find(b"\xff")
    while offset >= 0:
        first = _frame(content[offset : offset + 7])
        if first and _follow_each_other(content, offset, first):
            return MpegSound(first.name, _count(file, start + offset, size, first))
        offset = content.find(b"\xff", offset + 1)
    return None


def _follow_each_other(content: bytes, at: int, first: _Frame) -> bool:
    """Return whether some frames of one kind follow each other, or as many as a short file has."""
    for count in range(_FIRST_FRAMES):
        if count > 1 and at == len(content) < _SEARCHED_BYTES:
            return True
        frame = _frame(content[at : at + 7])
        if frame is None or frame.stream != first.stream:
            return False
        at += frame.length
    return True


def _count(file: BinaryIO, start: int, size: int, first: _Frame) -> float | None:
    """Return the seconds in all frames from an offset on; None if they cannot be counted.

    When the file is too large to be read completely, the part that was read tells how long the whole is: such a sound
    is longer than any model takes.
    """
    file.seek(start)
    beginning = file.read(64)
    is_list = any(name in beginning for name in _FIRST_FRAME_LISTS)
    seconds = -first.samples / first.rate if is_list else 0.0
    at, stream = start, None
    try:
        for _ in range(_MAX_STEPS):
            if at >= size:
                return seconds
            file.seek(at)
            frame = _frame(file.read(7))
            if frame is not None and (frame.stream == stream or _has_successor(file, at, size, frame)):
                at, stream = at + frame.length, frame.stream
                seconds += frame.samples / frame.rate
            else:
                at, stream = _next_sync(file, at, size), None
    except MediaUnreadable as error:
        log.debug("Not all frames were counted: %s", error)
    counted = at - start
    return seconds * (size - start) / counted if counted >= _ENOUGH_BYTES else None


def _has_successor(file: BinaryIO, at: int, size: int, frame: _Frame) -> bool:
    """Return whether another frame of the same kind follows a frame, or the end of the file."""
    if at + frame.length >= size:
        return at + frame.length == size
    file.seek(at + frame.length)
    follower = _frame(file.read(7))
    return follower is not None and follower.stream == frame.stream


def _next_sync(file: BinaryIO, at: int, size: int) -> int:
    """Return where the next frame may begin, after a place where none does."""
    after = _after_tags(file, at)
    if after > at:
        return after
    file.seek(at + 1)
    found = file.read(_SKIPPED_BYTES).find(b"\xff")
    return at + 1 + found if found >= 0 else min(size, at + 1 + _SKIPPED_BYTES)


def _after_tags(file: BinaryIO, at: int) -> int:
    """Return where the tags end that begin at an offset: ID3v2 (ID3v2.4, 3.1), or APEv2."""
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(16)
        if head.startswith(APE_MAGIC):
            at += 32 + int.from_bytes(head[12:16], "little")
            continue
        head = head[:10]
        if head[:3] != b"ID3" or len(head) < 10:  # noqa: PLR2004 - length of the tag's head
            break
        has_footer = head[5] & 0x10
        at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        at += 10 if has_footer else 0
    return at


def _frame(head: bytes) -> _Frame | None:
    """Return the frame that begins with these bytes; None if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - the sync word
        return None
    return _mpeg_frame(head) if head[1] & 0x06 else _aac_frame(head)


def _mpeg_frame(head: bytes) -> _Frame | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbit_index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or kbit_index in (0, 15) or rate_index == 3:  # noqa: PLR2004 - reserved, or of no fixed length
        return None
    is_first = version == 3  # noqa: PLR2004 - MPEG-1, not MPEG-2 or 2.5
    kbit = _KBIT[is_first, layer][kbit_index - 1]
    rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return _Frame((version, layer, rate), 4 * (12_000 * kbit // rate + padding), 384, rate)
    samples = 576 if layer == 3 and not is_first else 1152  # noqa: PLR2004 - MPEG-2 halves the frames of layer III
    return _Frame((version, layer, rate), samples * 125 * kbit // rate + padding, samples, rate)


def _aac_frame(head: bytes) -> _Frame | None:
    """Return a frame of an ADTS stream (ISO/IEC 13818-7, 6.2)."""
    if len(head) < 7 or head[1] & 0xF0 != 0xF0:  # noqa: PLR2004 - length of the head, and its longer sync word
        return None
    rate_index = head[2] >> 2 & 0x0F
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate_index >= len(_AAC_RATES) or length <= 7:  # noqa: PLR2004 - length of the head
        return None
    blocks = (head[6] & 3) + 1
    return _Frame((head[1] >> 3 & 1, 0, _AAC_RATES[rate_index]), length, 1024 * blocks, _AAC_RATES[rate_index])
