"""What an mp4 says of itself in its header, and whether all of it is there; nothing is decoded.

The layout of boxes is that of ISO/IEC 14496-12 (the ISO base media file format).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_HEADER_BYTES = 64 * 1024 * 1024
"""A ``moov`` box beyond this is no video of seconds; it is not read."""

_MAX_BOXES = 10_000


class NotAVideoError(Exception):
    """The file is no complete mp4."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What the header says.

    :param duration_s: length in s.
    :param width: px, as shown.
    :param height: px, as shown.
    :param has_audio: whether there is a sound track.
    """

    duration_s: float | None
    width: int | None
    height: int | None
    has_audio: bool


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    size: int


def inspect_video(path: Path) -> VideoFacts:
    """Read the header of an mp4 and check that every part the file announces is in it.

    :raises NotAVideoError: when it is no mp4, or one that was cut.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        try:
            boxes = {box.kind: box for box in _boxes(file, 0, size)}
            missing = [kind.decode() for kind in (b"ftyp", b"moov", b"mdat") if kind not in boxes]
            if missing:
                raise NotAVideoError(f"The file is no complete mp4: it has no {' and no '.join(missing)} box.")
            return _read_moov(file, boxes[b"moov"])
        except (struct.error, IndexError) as error:
            raise NotAVideoError("The file is no complete mp4: its header is cut or broken.") from error


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The boxes between two offsets, each checked to lie within them."""
    for _ in range(_MAX_BOXES):
        if start >= end:
            return
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            name = kind.decode("ascii", "replace")
            raise NotAVideoError(f"The file is no complete mp4: its {name!r} part does not fit into it.")
        yield _Box(kind, start + head, size - head)
        start += size


def _read_moov(file: BinaryIO, moov: _Box) -> VideoFacts:
    if moov.size > LARGEST_HEADER_BYTES:
        raise NotAVideoError(f"The file's header of {moov.size} bytes is not one of a video.")
    duration_s: float | None = None
    width = height = None
    has_audio = False
    for box in _boxes(file, moov.start, moov.start + moov.size):
        if box.kind == b"mvhd":
            duration_s = _duration(_content(file, box))
        elif box.kind == b"trak":
            handler, track_width, track_height = _track(file, box)
            has_audio = has_audio or handler == b"soun"
            if handler == b"vide":
                width, height = track_width, track_height
    return VideoFacts(duration_s, width, height, has_audio)


def _duration(mvhd: bytes) -> float | None:
    """Version 1 of the movie header has 64-bit times."""
    layout, offset = (">IQ", 20) if mvhd[0] == 1 else (">II", 12)
    timescale, duration = struct.unpack_from(layout, mvhd, offset)
    return round(duration / timescale, 3) if timescale and duration else None


def _track(file: BinaryIO, trak: _Box) -> tuple[bytes, int, int]:
    """A track's kind, and its width and height as shown."""
    handler, width, height = b"", 0, 0
    for box in _boxes(file, trak.start, trak.start + trak.size):
        if box.kind == b"tkhd":
            # The last two fields, fixed-point 16.16.
            width, height = (value >> 16 for value in struct.unpack(">II", _content(file, box)[-8:]))
        elif box.kind == b"mdia":
            for inner in _boxes(file, box.start, box.start + box.size):
                if inner.kind == b"hdlr":
                    handler = _content(file, inner)[8:12]
    return handler, width, height


def _content(file: BinaryIO, box: _Box) -> bytes:
    file.seek(box.start)
    return file.read(min(box.size, LARGEST_HEADER_BYTES))
