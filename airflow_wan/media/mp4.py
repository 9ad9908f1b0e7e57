"""What an mp4 says of itself in its header, and whether all of it is there; nothing is decoded, nothing rewritten.

The layout of boxes is that of ISO/IEC 14496-12 (the ISO base media file format).
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

LARGEST_HEADER_BYTES = 64 * 1024 * 1024
"""A ``moov`` box beyond this is no video of seconds; it is not looked into."""

_MAX_BOXES = 10_000
"""Boxes looked at in one file; a video of seconds has dozens."""

_C2PA = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
"""The ``uuid`` box that holds Content Credentials (C2PA specification, "Embedding manifests into BMFF")."""

_AIGC = b"AIGC"
"""The metadata key of China's label for generated content (GB 45438-2025)."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What the header says.

    :param duration_s: length in s.
    :param width: px, as shown; None where there is no picture.
    :param height: px, as shown; None where there is no picture.
    :param has_audio: whether there is a sound track.
    :param c2pa: whether Content Credentials (a C2PA manifest) are in the file.
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

    :raises NotAVideoError: when it is no mp4, or one that was cut.
    """
    with path.open("rb") as file:
        return inspect_file(file)


def inspect_file(file: BinaryIO) -> VideoFacts:
    """Read the header of an mp4 and check that every part the file announces is in it.

    Only the beginnings of boxes and a few dozen bytes of some are read; the rest, so the frames, is sought over.

    :param file: anything that can seek, and whose ``read(n)`` gives fewer bytes only at the end. It stays open.
    :raises NotAVideoError: when it is no mp4, or one that was cut.
    """
    try:
        return _Mp4(file).facts()
    except (struct.error, IndexError) as error:
        raise NotAVideoError("The file is no complete mp4: its header is cut or broken.") from error


class _Mp4:
    """A file read box by box, in bounded work whatever its bytes are."""

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
            raise NotAVideoError(f"The file is no complete mp4: it has no {' and no '.join(missing)} box.")
        return self._facts_of(found[b"moov"], c2pa=c2pa)

    def _facts_of(self, moov: _Box, *, c2pa: bool) -> VideoFacts:
        if moov.size > LARGEST_HEADER_BYTES:
            raise NotAVideoError(f"The file's header of {moov.size} bytes is not one of a video.")
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
        """Version 1 of the movie header has 64-bit times."""
        content = self._read(mvhd, 32)
        layout, offset = (">IQ", 20) if content[0] == 1 else (">II", 12)
        timescale, duration = struct.unpack_from(layout, content, offset)
        return round(duration / timescale, 3) if timescale and duration else None

    def _track(self, trak: _Box) -> tuple[bytes, int, int]:
        """A track's kind, and its width and height as shown."""
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
            return False  # broken metadata label nothing, and are no reason to refuse the video

    def _metadata_names(self, moov: _Box) -> Iterator[bytes]:
        """Metadata lie in ``udta``, or under the keys of a ``meta`` box there or beside it."""
        for place in (moov, *[box for box in self._within(moov) if box.kind == b"udta"]):
            for box in self._within(place):
                yield box.kind
                if box.kind == b"meta":
                    yield from self._keys(box)

    def _keys(self, meta: _Box) -> Iterator[bytes]:
        """The names in a ``keys`` box, whose entries are laid out like boxes after eight bytes of its own."""
        # ISO's meta box begins with four bytes of version and flags, QuickTime's does not.
        head = 0 if self._read(meta, 4, 4) == b"hdlr" else 4
        for box in self._boxes(meta.start + head, meta.end):
            if box.kind == b"keys":
                for key in self._boxes(box.start + 8, box.end):
                    yield self._read(key, len(_AIGC) + 1)

    def _within(self, box: _Box) -> Iterator[_Box]:
        return self._boxes(box.start, box.end)

    def _boxes(self, start: int, end: int) -> Iterator[_Box]:
        """The boxes between two offsets, each checked to lie within them."""
        while start < end:
            self._boxes_left -= 1
            if self._boxes_left < 0:
                raise NotAVideoError(f"The file is no complete mp4: it has more than {_MAX_BOXES} parts.")
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
                raise NotAVideoError(f"The file is no complete mp4: its {name!r} part does not fit into it.")
            yield _Box(kind, start + head, size - head)
            start += size

    def _read(self, box: _Box, count: int, offset: int = 0) -> bytes:
        """At most so many bytes of a box's content; none from beyond its bounds."""
        if offset < 0:
            return b""
        self._file.seek(box.start + offset)
        return self._file.read(max(0, min(count, box.size - offset)))
