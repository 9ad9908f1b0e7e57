"""Reads the boxes that an mp4 is made of (ISO/IEC 14496-12), in bounded work whatever the bytes are."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.exceptions import NotAVideoError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_HEADER_BYTES = 64 * 1024 * 1024
"""Maximum size of the ``moov`` box, and of all tables of fragments together, in bytes: a video of some seconds has far
smaller ones."""

MAX_BOXES = 50_000
"""Maximum number of boxes read in one file. A video of some seconds has dozens; one with a fragment for each frame has
some thousands."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its kind, where its content starts, and the size of its content in bytes."""

    kind: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        """Where its content ends."""
        return self.start + self.size


class BoxReader:
    """A file that is read box by box.

    :param file: a seekable file whose ``read(n)`` returns fewer bytes only at its end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes_left = MAX_BOXES
        self._table_bytes_left = MAX_HEADER_BYTES

    def within(self, box: Box) -> Iterator[Box]:
        """Yield the boxes in a box; see `between`."""
        return self.between(box.start, box.end)

    def between(self, start: int, end: int) -> Iterator[Box]:
        """Yield the boxes between two offsets.

        :raises NotAVideoError: when one does not lie within them, or the file has too many.
        :raises struct.error: when the file ends within the head of one.
        """
        while start < end:
            self._boxes_left -= 1
            if self._boxes_left < 0:
                raise NotAVideoError(f"The file is not a complete mp4: it has more than {MAX_BOXES} boxes.")
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
            yield Box(kind, start + head, size - head)
            start += size

    def read(self, box: Box, count: int, offset: int = 0) -> bytes:
        """Return at most so many bytes of a box's content; none from outside the box."""
        if offset < 0:
            return b""
        self._file.seek(box.start + offset)
        return self._file.read(max(0, min(count, box.size - offset)))

    def numbers(self, box: Box, count: int, offset: int = 0) -> tuple[int, ...]:
        """Return numbers of 32 bits out of a table.

        :raises NotAVideoError: when the tables of the file are too large.
        :raises struct.error: when the box has fewer.
        """
        self._table_bytes_left -= 4 * count
        if self._table_bytes_left < 0:
            raise NotAVideoError(f"The file is not a video: its tables have more than {MAX_HEADER_BYTES} bytes.")
        return struct.unpack(f">{count}I", self.read(box, 4 * count, offset))
