"""Read the header of an mp4, and check that the file is complete; nothing is decoded.

The layout of boxes is defined in ISO/IEC 14496-12 (the ISO base media file format).
"""

from __future__ import annotations

import io
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.exceptions import NotAVideoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_HEADER_BYTES = 64 * 1024 * 1024
"""Maximum size of the ``moov`` box, in bytes: a video of some seconds has a far smaller one."""

_MAX_BOXES = 10_000
"""Maximum number of boxes read in one file; a video of some seconds has dozens."""

_C2PA = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
"""The ``uuid`` box that holds Content Credentials (C2PA specification, "Embedding manifests into BMFF")."""

_AIGC = b"AIGC"
"""The metadata key of China's label for AI-generated content (GB 45438-2025)."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What an mp4's header says.

    :param duration_s: length in seconds; None if the header does not tell it.
    :param width: displayed width in pixels; None without a picture track.
    :param height: displayed height in pixels; None without a picture track.
    :param has_audio: whether there is a sound track.
    :param c2pa: whether the file holds Content Credentials (a C2PA manifest).
    :param aigc_label: whether the file's metadata label it as generated (key ``AIGC``).
    """

    duration_s: float | None
    width: int | None
    height: int | None
    has_audio: bool
    c2pa: bool
    aigc_label: bool


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def inspect_video(path: Path) -> VideoFacts:
    """Read the header of an mp4 on disk; see `inspect_file`.

    :param path: the file.
    :raises NotAVideoError: when it is not an mp4, or is incomplete.
    """
    with path.open("rb") as file:
        return inspect_file(file)


def inspect_file(file: BinaryIO) -> VideoFacts:
    """Read the header of an mp4, and check that every box lies completely in the file.

    Only the beginnings of boxes, and a few dozen bytes of some, are read; the frames are skipped.

    :param file: a seekable file whose ``read(n)`` returns fewer bytes only at its end. It stays open.
    :raises NotAVideoError: when it is not an mp4, or is incomplete.
    """
    try:
        return _Mp4(file).facts()
    except (struct.error, IndexError) as error:
        raise NotAVideoError("The file is not a complete mp4: its header is cut or broken.") from error


class _Mp4:
    """An mp4 that is read box by box; the work is bounded whatever its bytes are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes_left = _MAX_BOXES

    def facts(self) -> VideoFacts:
        found: dict[bytes, _Box] = {}
        c2pa = False
        for box in self._boxes(0, self._file.seek(0, io.SEEK_END)):
            found.setdefault(box.kind, box)
            c2pa = c2pa or (box.kind == b"uuid" and self._read(box, len(_C2PA)) == _C2PA)
        missing = [kind.decode() for kind in (b"ftyp", b"moov", b"mdat") if kind not in found]
        if missing:
            raise NotAVideoError(f"The file is not a complete mp4: it has no {' and no '.join(missing)} box.")
        return self._facts_of(found[b"moov"], c2pa=c2pa)

    def _facts_of(self, moov: _Box, *, c2pa: bool) -> VideoFacts:
        if moov.size > MAX_HEADER_BYTES:
            raise NotAVideoError(f"The file is not a video: its header of {moov.size} bytes is too large for one.")
        duration_s: float | None = None
        width = height = None
        has_audio = False
        for box in self._within(moov):
            if box.kind == b"mvhd":
                duration_s = self._duration(box)
            elif box.kind == b"trak":
                handler, track_width, track_height = self._track(box)
                has_audio = has_audio or handler == b"soun"
                if handler == b"vide" and width is None:
                    width, height = track_width, track_height
        return VideoFacts(duration_s, width, height, has_audio, c2pa, self._has_aigc_label(moov))

    def _duration(self, mvhd: _Box) -> float | None:
        """Return the length in seconds; version 1 of the movie header has 64-bit times."""
        content = self._read(mvhd, 32)
        layout, offset = (">IQ", 20) if content[0] == 1 else (">II", 12)
        timescale, duration = struct.unpack_from(layout, content, offset)
        return round(duration / timescale, 3) if timescale and duration else None

    def _track(self, trak: _Box) -> tuple[bytes, int, int]:
        """Return a track's handler type, and its displayed width and height in pixels."""
        handler, width, height = b"", 0, 0
        for box in self._within(trak):
            if box.kind == b"tkhd":
                # The last two fields, fixed-point 16.16.
                width, height = (value >> 16 for value in struct.unpack(">II", self._read(box, 8, box.size - 8)))
            elif box.kind == b"mdia":
                for inner in self._within(box):
                    if inner.kind == b"hdlr":
                        handler = self._read(inner, 4, 8)
        return handler, width, height

    def _has_aigc_label(self, moov: _Box) -> bool:
        try:
            return _AIGC in self._metadata_names(moov)
        except (struct.error, NotAVideoError):
            return False  # broken metadata hold no label, and are not a reason to refuse the video

    def _metadata_names(self, moov: _Box) -> Iterator[bytes]:
        """Yield the names of metadata: boxes in ``udta``, and the keys of a ``meta`` box in ``udta`` or ``moov``."""
        for place in (moov, *[box for box in self._within(moov) if box.kind == b"udta"]):
            for box in self._within(place):
                yield box.kind
                if box.kind == b"meta":
                    yield from self._keys(box)

    def _keys(self, meta: _Box) -> Iterator[bytes]:
        """Yield the names in a ``keys`` box: after its first eight bytes, its entries have the layout of boxes."""
        # ISO's meta box begins with four bytes of version and flags, QuickTime's does not.
        head = 0 if self._read(meta, 4, 4) == b"hdlr" else 4
        for box in self._boxes(meta.start + head, meta.end):
            if box.kind == b"keys":
                for key in self._boxes(box.start + 8, box.end):
                    yield self._read(key, len(_AIGC) + 1)

    def _within(self, box: _Box) -> Iterator[_Box]:
        return self._boxes(box.start, box.end)

    def _boxes(self, start: int, end: int) -> Iterator[_Box]:
        """Yield the boxes between two offsets, and check that each lies within them."""
        while start < end:
            self._boxes_left -= 1
            if self._boxes_left < 0:
                raise NotAVideoError(f"The file is not a complete mp4: it has more than {_MAX_BOXES} boxes.")
            self._file.seek(start)
            size, kind = struct.unpack(">I4s", self._file.read(8))
            head = 8
            if size == 1:
                (size,) = struct.unpack(">Q", self._file.read(8))
                head = 16
            elif size == 0:
                size = end - start
            if size < head or start + size > end:
                name = kind.decode("ascii", "replace")
                raise NotAVideoError(f"The file is not a complete mp4: its {name!r} box does not fit into it.")
            yield _Box(kind, start + head, size - head)
            start += size

    def _read(self, box: _Box, count: int, offset: int = 0) -> bytes:
        """Return at most so many bytes of a box's content; none from outside the box."""
        if offset < 0:
            return b""
        self._file.seek(box.start + offset)
        return self._file.read(max(0, min(count, box.size - offset)))
