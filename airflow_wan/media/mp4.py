"""Measure an mp4 by its headers, and check that the file is complete; nothing is decoded.

The layout of boxes is defined in ISO/IEC 14496-12 (the ISO base media file format).
"""

from __future__ import annotations

import io
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.exceptions import MediaUnreadable, NotAVideoError
from airflow_wan.media.boxes import MAX_HEADER_BYTES, Box, BoxReader
from airflow_wan.media.fragments import Fragments, Track

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_C2PA = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
"""The ``uuid`` box that holds Content Credentials (C2PA specification, "Embedding manifests into BMFF")."""

_AIGC = b"AIGC"
"""The metadata key of China's label for AI-generated content (GB 45438-2025)."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What an mp4's header says.

    :param duration_s: length in seconds, of all fragments if there are any; None if it could not be measured.
    :param width: displayed width in pixels; None without a picture track, or if that has no frames.
    :param height: displayed height in pixels; None as the width is.
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
    """An mp4, of which one box after the other is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._size = file.seek(0, io.SEEK_END)
        self._reader = BoxReader(file)
        self._movie: _Movie | None = None

    def facts(self) -> VideoFacts:
        kinds: set[bytes] = set()
        c2pa, is_whole = False, True
        try:
            for box in self._reader.between(0, self._size):
                c2pa = c2pa or (box.kind == b"uuid" and self._reader.read(box, len(_C2PA)) == _C2PA)
                if box.kind not in kinds or box.kind in (b"moof", b"sidx"):
                    self._read(box)
                kinds.add(box.kind)
        except MediaUnreadable:
            # It has more fragments than can be read: what the header tells of them must do.
            if self._movie is None or not self._movie.is_fragmented:
                raise
            is_whole = False
        missing = [kind.decode() for kind in (b"ftyp", b"moov", b"mdat") if kind not in kinds]
        if self._movie is None or (missing and is_whole):
            raise NotAVideoError(f"The file is not a complete mp4: it has no {' and no '.join(missing)} box.")
        return self._movie.facts(is_whole=is_whole, c2pa=c2pa)

    def _read(self, box: Box) -> None:
        if box.kind == b"moov":
            self._movie = _read_movie(self._reader, box)
        elif self._movie is not None and box.kind == b"moof":
            self._movie.fragments.read(self._reader, box)
        elif self._movie is not None and box.kind == b"sidx":
            self._movie.fragments.read_index(self._reader, box, self._size)


@dataclass(slots=True)
class _Movie:
    """The header of an mp4, and the fragments that belong to it."""

    fragments: Fragments
    timescale: int = 0
    duration: int | None = None
    is_fragmented: bool = False
    picture: tuple[Track, int, int] | None = None
    has_audio: bool = False
    aigc_label: bool = False

    def facts(self, *, is_whole: bool, c2pa: bool) -> VideoFacts:
        track, width, height = self.picture or (None, None, None)
        if track is not None and track.samples == 0 and is_whole:
            width = height = None
        return VideoFacts(self._seconds(is_whole=is_whole), width, height, self.has_audio, c2pa, self.aigc_label)

    def _seconds(self, *, is_whole: bool) -> float | None:
        if self.is_fragmented and not is_whole:
            seconds = self.fragments.told_s or 0.0
        else:
            seconds = max((track.seconds for track in self.fragments.tracks.values()), default=0.0)
        if not self.is_fragmented and self.timescale:
            seconds = max(seconds, (self.duration or 0) / self.timescale)
        return round(seconds, 3) or None


def _read_movie(reader: BoxReader, moov: Box) -> _Movie:
    if moov.size > MAX_HEADER_BYTES:
        raise NotAVideoError(f"The file is not a video: its header of {moov.size} bytes is too large for one.")
    movie = _Movie(Fragments({}))
    for box in reader.within(moov):
        if box.kind == b"mvhd":
            movie.timescale, movie.duration = _times(reader, box)
        elif box.kind == b"trak":
            _read_track(reader, box, movie)
    for box in reader.within(moov):
        if box.kind == b"mvex":
            movie.is_fragmented = True
            movie.fragments.read_defaults(reader, box, movie.timescale)
    movie.aigc_label = _has_aigc_label(reader, moov)
    return movie


def _times(reader: BoxReader, box: Box) -> tuple[int, int | None]:
    """Return the units in a second, and the length in units, of a header; None if it is not known.

    Version 1 has 64-bit times. The largest number stands for an unknown length.
    """
    content = reader.read(box, 32)
    layout, offset, unknown = (">IQ", 20, 2**64 - 1) if content[0] == 1 else (">II", 12, 2**32 - 1)
    timescale, duration = struct.unpack_from(layout, content, offset)
    return timescale, None if duration == unknown else duration


def _read_track(reader: BoxReader, trak: Box, movie: _Movie) -> None:
    """Read a track's id, handler type, times, and its displayed width and height in pixels."""
    track_id, handler, width, height, track = 0, b"", 0, 0, Track()
    for box in reader.within(trak):
        if box.kind == b"tkhd":
            # The last two fields, fixed-point 16.16.
            width, height = (value >> 16 for value in struct.unpack(">II", reader.read(box, 8, box.size - 8)))
            content = reader.read(box, 24)
            (track_id,) = struct.unpack_from(">I", content.ljust(24, b"\0"), 20 if content[0] == 1 else 12)
        elif box.kind == b"mdia":
            handler = _read_media(reader, box, track)
        elif box.kind == b"edts" and movie.timescale:
            track.shown_s = sum(_edits(reader, box)) / movie.timescale
    movie.fragments.tracks[track_id] = track
    movie.has_audio = movie.has_audio or handler == b"soun"
    if handler == b"vide" and movie.picture is None:
        movie.picture = track, width, height


def _read_media(reader: BoxReader, mdia: Box, track: Track) -> bytes:
    """Read the times and the number of samples of a track, and return its handler type."""
    handler = b""
    for box in reader.within(mdia):
        if box.kind == b"hdlr":
            handler = reader.read(box, 4, 8)
        elif box.kind == b"mdhd":
            track.timescale, _ = _times(reader, box)
        elif box.kind == b"minf":
            for table in (
                table for each in reader.within(box) if each.kind == b"stbl" for table in reader.within(each)
            ):
                if table.kind in (b"stsz", b"stz2"):
                    (track.samples,) = reader.numbers(table, 1, 8)
                elif table.kind == b"stts":
                    (count,) = reader.numbers(table, 1, 4)
                    entries = reader.numbers(table, 2 * count, 8)
                    track.duration = sum(n * length for n, length in zip(entries[::2], entries[1::2], strict=True))
    return handler


def _edits(reader: BoxReader, edts: Box) -> Iterator[int]:
    """Yield the length of each part of a track that is shown (8.6.6)."""
    for box in reader.within(edts):
        if box.kind == b"elst":
            has_long_times = reader.read(box, 1) == b"\1"
            (count,) = reader.numbers(box, 1, 4)
            width = 5 if has_long_times else 3
            table = reader.numbers(box, width * count, 8)
            yield from (
                table[at] << 32 | table[at + 1] if has_long_times else table[at] for at in range(0, len(table), width)
            )


def _has_aigc_label(reader: BoxReader, moov: Box) -> bool:
    try:
        return _AIGC in _metadata_names(reader, moov)
    except (struct.error, NotAVideoError):
        return False  # broken metadata hold no label, and are not a reason to refuse the video


def _metadata_names(reader: BoxReader, moov: Box) -> Iterator[bytes]:
    """Yield the names of metadata: boxes in ``udta``, and the keys of a ``meta`` box in ``udta`` or ``moov``."""
    for place in (moov, *[box for box in reader.within(moov) if box.kind == b"udta"]):
        for box in reader.within(place):
            yield box.kind
            if box.kind == b"meta":
                yield from _keys(reader, box)


def _keys(reader: BoxReader, meta: Box) -> Iterator[bytes]:
    """Yield the names in a ``keys`` box: after its first eight bytes, its entries have the layout of boxes."""
    # ISO's meta box begins with four bytes of version and flags, QuickTime's does not.
    head = 0 if reader.read(meta, 4, 4) == b"hdlr" else 4
    for box in reader.between(meta.start + head, meta.end):
        if box.kind == b"keys":
            for key in reader.between(box.start + 8, box.end):
                yield reader.read(key, len(_AIGC) + 1)
