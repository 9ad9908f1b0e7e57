"""Measures an mp4 in fragments: its header tells the length of the first one at most (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_wan.media.boxes import Box, BoxReader

# Flags of a `tfhd` box: which fields it has.
_HAS_BASE_OFFSET, _HAS_DESCRIPTION, _HAS_DEFAULT_DURATION = 0x01, 0x02, 0x08

# Flags of a `trun` box: fields before the table, and fields of each sample in the table.
_HAS_DATA_OFFSET, _HAS_FIRST_FLAGS, _HAS_DURATIONS = 0x01, 0x04, 0x100
_SAMPLE_FIELDS = (_HAS_DURATIONS, 0x200, 0x400, 0x800)

_INDEX_AT_END_BYTES = 64 * 1024  # an index of another kind may follow the last fragment


@dataclass(slots=True)
class Track:
    """What is known of one track. Times are in units of its timescale.

    :param timescale: units in a second.
    :param duration: length of the samples that the header lists.
    :param samples: number of all samples that were found; None if the header does not list its own.
    :param default_duration: length of a sample, where nothing else is said.
    :param shown_s: how much of the samples that the header lists is shown, in seconds; 0 for all of it.
    """

    timescale: int = 0
    duration: int = 0
    samples: int | None = None
    default_duration: int = 0
    shown_s: float = 0.0
    _fragments: int = 0
    _starts: int | None = None
    _ends: int = 0

    def add(self, decode_time: int | None, duration: int, samples: int) -> None:
        """Add a fragment: when it starts, if it says so, its length, and the number of its samples."""
        self._fragments += duration
        self.samples = (self.samples or 0) + samples
        if decode_time is not None and samples:
            self._starts = decode_time if self._starts is None else min(self._starts, decode_time)
            self._ends = max(self._ends, decode_time + duration)

    @property
    def seconds(self) -> float:
        """Length of what is shown, in seconds, with the gaps between fragments."""
        span = self._ends - self._starts if self._starts is not None else 0
        fragments = max(self._fragments, span)
        if self.shown_s and not fragments:
            return self.shown_s
        return (self.duration + fragments) / self.timescale if self.timescale else 0.0


@dataclass(slots=True)
class Fragments:
    """The fragments of one file.

    :param tracks: its tracks by their id, from the header; the fragments add to them.
    :param told_s: the length that the header tells for all fragments together, in seconds; None if it tells none.
    """

    tracks: dict[int, Track]
    told_s: float | None = None

    def read_defaults(self, reader: BoxReader, mvex: Box, movie_timescale: int) -> None:
        """Read the header's box about fragments."""
        for box in reader.within(mvex):
            if box.kind == b"trex":
                track_id, _, default_duration = reader.numbers(box, 3, 4)
                self.tracks.setdefault(track_id, Track()).default_duration = default_duration
            elif box.kind == b"mehd" and movie_timescale:
                content = reader.read(box, 12)
                (duration,) = struct.unpack_from(">Q" if content[0] == 1 else ">I", content, 4)
                self.told_s = duration / movie_timescale or None

    def read(self, reader: BoxReader, moof: Box) -> None:
        """Add a fragment."""
        for box in reader.within(moof):
            if box.kind == b"traf":
                self._read_track(reader, box)

    def read_index(self, reader: BoxReader, sidx: Box, file_size: int) -> None:
        """Take the length from an index of fragments, if it covers the file up to its end (8.16.3)."""
        layout, table_at = (">II", 24) if reader.read(sidx, 1) == b"\0" else (">QQ", 32)
        (timescale,) = reader.numbers(sidx, 1, 8)
        _, first_offset = struct.unpack(layout, reader.read(sidx, table_at - 16, 12))
        (count,) = struct.unpack(">H", reader.read(sidx, 2, table_at - 2))
        table = reader.numbers(sidx, 3 * count, table_at)
        end = sidx.end + first_offset + sum(size & 0x7FFFFFFF for size in table[::3])
        if timescale and self.told_s is None and end >= file_size - _INDEX_AT_END_BYTES:
            self.told_s = sum(table[1::3]) / timescale or None

    def _read_track(self, reader: BoxReader, traf: Box) -> None:
        track, default, decode_time = Track(), 0, None
        duration = samples = 0
        for box in reader.within(traf):
            if box.kind == b"tfhd":
                flags, track_id = reader.numbers(box, 2)
                track = self.tracks.setdefault(track_id, Track())
                default = track.default_duration
                if flags & _HAS_DEFAULT_DURATION:
                    offset = 8 + 8 * bool(flags & _HAS_BASE_OFFSET) + 4 * bool(flags & _HAS_DESCRIPTION)
                    (default,) = reader.numbers(box, 1, offset)
            elif box.kind == b"tfdt":
                content = reader.read(box, 12)
                (decode_time,) = struct.unpack_from(">Q" if content[0] == 1 else ">I", content, 4)
            elif box.kind == b"trun":
                count, length = _run(reader, box, default)
                samples, duration = samples + count, duration + length
        track.add(decode_time, duration, samples)


def _run(reader: BoxReader, trun: Box, default: int) -> tuple[int, int]:
    """Return how many samples a run has, and how long they last."""
    flags, count = reader.numbers(trun, 2)
    if not flags & _HAS_DURATIONS:
        return count, count * default
    offset = 8 + 4 * bool(flags & _HAS_DATA_OFFSET) + 4 * bool(flags & _HAS_FIRST_FLAGS)
    fields = sum(bool(flags & each) for each in _SAMPLE_FIELDS)
    return count, sum(reader.numbers(trun, count * fields, offset)[::fields])
