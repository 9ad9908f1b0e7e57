"""Reads the size of PNG, BMP and WEBP images from their headers.

Pillow, which reads the other formats, unpacks a PNG's texts and colour profile, and refuses an image whose texts are
long; it refuses a BMP whose colours have unusual masks; and it reads a WEBP completely.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from airflow_wan.exceptions import NotMediaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HEAD_BYTES = 128  # as many as any of the headers has
_MAX_CHUNKS = 10_000  # of a PNG, before its pixels; most have a handful

# Bits of a sample that each colour type of a PNG allows (PNG specification, 11.2.1).
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_ALPHA = (4, 6)

_BMP_BITS = (1, 2, 4, 8, 16, 24, 32, 64)
_BMP_COMPRESSIONS = (0, 1, 2, 3, 4, 5, 6, 11, 12, 13)
_BMP_OLD_HEADER = 12  # bytes, of OS/2 1; its numbers have 16 bits
_BMP_HEADERS = (40, 52, 56, 64, 108, 124)  # bytes, of all others
_BMP_MASKED_HEADERS = (56, 108, 124)  # bytes, of those with a mask of the alpha channel
_BMP_ALPHA_MASK = slice(66, 70)
_BMP_ALPHA_MASKS = 6  # a compression
_BMP_MASKED_BITS = (16, 32)


@dataclass(frozen=True, slots=True)
class Picture:
    """What the header of an image says: format, width and height in pixels, and whether pixels may be transparent."""

    format: str
    width: int
    height: int
    has_alpha: bool


def read_picture(file: BinaryIO, size: int) -> Picture | None:
    """Read the header of a PNG, BMP or WEBP; None for any other file.

    :param file: the file; its position changes.
    :param size: its size, in bytes.
    :raises NotMediaError: when the header is broken.
    :raises struct.error: when the file ends within the header.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    for magic, read in _READERS.items():
        if head.startswith(magic):
            found = read(file, head, size)
            if found and found.width * found.height > 2 * (Image.MAX_IMAGE_PIXELS or 0):  # Pillow's own bound
                raise NotMediaError(f"an image of a sensible size (it has {found.width}x{found.height} px)")
            return found
    return None


def _read_png(file: BinaryIO, head: bytes, size: int) -> Picture:
    length, kind, width, height, bits, colours = struct.unpack_from(">I4sIIBB", head, 8)
    (checksum,) = struct.unpack_from(">I", head, 29)
    if (length, kind) != (13, b"IHDR") or zlib.crc32(head[12:29]) != checksum or bits not in _PNG_BITS.get(colours, ()):
        raise NotMediaError("a PNG image with a readable header")
    has_alpha, at = colours in _PNG_ALPHA, 33
    for _ in range(_MAX_CHUNKS):
        if at >= size:
            break
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IDAT" and width and height:
            return Picture("PNG", width, height, has_alpha)
        has_alpha = has_alpha or kind == b"tRNS"
        at += 12 + length
    raise NotMediaError("a PNG image with pixels in it")


def _read_bmp(_: BinaryIO, head: bytes, size: int) -> Picture:
    pixels_at, header = struct.unpack_from("<II", head, 10)
    if header == _BMP_OLD_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
    is_known = header in (_BMP_OLD_HEADER, *_BMP_HEADERS) and compression in _BMP_COMPRESSIONS and bits in _BMP_BITS
    if not (is_known and width > 0 and height and pixels_at < size):
        raise NotMediaError("a BMP image with a readable header")
    is_masked = bits in _BMP_MASKED_BITS and (header in _BMP_MASKED_HEADERS or compression == _BMP_ALPHA_MASKS)
    return Picture("BMP", width, abs(height), is_masked and any(head[_BMP_ALPHA_MASK]))


def _read_webp(_: BinaryIO, head: bytes, size: int) -> Picture | None:
    """Read the first chunk of a WEBP: each of its three types has the image's size in another layout (RFC 9649)."""
    if head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if int.from_bytes(head[4:8], "little") + 8 > size:
        raise NotMediaError("a complete WEBP image")
    if kind == b"VP8X":
        (flags,) = struct.unpack_from("<B", head, 20)
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return Picture("WEBP", width, height, bool(flags & 0x10))
    if kind == b"VP8L" and head[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", head, 21)
        return Picture("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1))
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return Picture("WEBP", width & 0x3FFF, height & 0x3FFF, has_alpha=False)
    raise NotMediaError("a complete WEBP image")


_READERS: Mapping[bytes, Callable[[BinaryIO, bytes, int], Picture | None]] = {
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"BM": _read_bmp,
    b"RIFF": _read_webp,
}
