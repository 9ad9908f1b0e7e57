"""Read a file block by block, as far as its measurement needs it, and never more than some MiB of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.exceptions import MediaUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BYTES = 64 * 1024
"""Size of a block: it holds the header of most images, and all that is needed of most sound files."""

MAX_BYTES = 4 * 1024 * 1024
"""Maximum number of bytes read of a file on the web: room for the embedded profiles and thumbnails of a photograph, and
for all frames of a sound of a minute and a half."""

MAX_NEAR_BYTES = 32 * 1024 * 1024
"""Maximum number of bytes read of a local file, or of an object in a store. All of a sound is read in order to count
its frames, and a sound may have 15 MB; of a clip in fragments, one block for each."""

_MAX_KEPT_BYTES = 4 * 1024 * 1024


class BoundedFile(io.RawIOBase):
    """A read-only, seekable file that keeps the latest blocks it has read, and fails when it would read too many.

    Like any raw file, it may return fewer bytes than asked for; `buffered` returns a file that does not.

    :param fetch: returns the bytes from an offset up to, not including, another one.
    :param size: the file's size, in bytes.
    :param max_bytes: how many bytes may be fetched, a whole number of blocks.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, max_bytes: int = MAX_BYTES) -> None:
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._blocks: dict[int, bytes] = {}
        self._max_bytes = max_bytes
        self._blocks_left = max_bytes // BLOCK_BYTES

    def buffered(self) -> BinaryIO:
        """Return a buffered file over this one, for the readers of headers."""
        return io.BufferedReader(self, BLOCK_BYTES)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position; nothing is fetched."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("A position cannot be before the beginning of a file.")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # any writable buffer, as io calls it
        """Read up to the end of the current block.

        :raises MediaUnreadable: when the bytes cannot be fetched, or too many were asked for.
        """
        if self._position >= self._size or not buffer:
            return 0
        number, offset = divmod(self._position, BLOCK_BYTES)
        piece = self._block(number)[offset : offset + len(buffer)]
        if not piece:
            raise MediaUnreadable(f"it ends before the {self._size} bytes that it should have")
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if not self._blocks_left:
                raise MediaUnreadable(f"more than {self._max_bytes} bytes of it would have to be read")
            self._blocks_left -= 1
            if len(self._blocks) >= _MAX_KEPT_BYTES // BLOCK_BYTES:
                del self._blocks[next(iter(self._blocks))]
            start = number * BLOCK_BYTES
            self._blocks[number] = self._fetch(start, min(start + BLOCK_BYTES, self._size))
        return self._blocks[number]


def bounded(file: BinaryIO, size: int) -> BinaryIO:
    """Return a view of an open file that reads no more than `MAX_NEAR_BYTES` of it."""

    def fetch(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(stop - start)

    return BoundedFile(fetch, size, MAX_NEAR_BYTES).buffered()
