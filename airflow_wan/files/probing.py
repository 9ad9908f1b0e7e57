"""What an image, a sound or a video clip says of itself in its header; nothing is decoded."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from PIL import Image
from tinytag import TinyTag

from airflow_wan.files.inspection import NotAVideoError, inspect_file

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST_BYTES_READ = 4 * 1024 * 1024
"""Read of one file; the parsers of some formats would follow a broken header through all of it."""

_MEASURED = ("JPEG", "PNG", "BMP", "GIF", "TIFF")
"""What Pillow opens without reading all of the file. WebP it decodes at once, so that is read here."""

_ISO_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
"""Kinds of image that no gateway takes, and phones make: told apart, so that people know what they have."""

_SOUNDS = {"audio/wav": "WAV", "audio/mpeg": "MP3"}


class NotMediaError(Exception):
    """The file is not what it should be, or its header is broken."""


class HeaderTooLongError(NotMediaError):
    """The file may be right, but more than `MOST_BYTES_READ` would have to be read to tell."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image's header says.

    :param format: ``JPEG``, ``PNG``, ``BMP``, ``WEBP``, ``GIF``, ``TIFF``, ``AVIF``, ``HEIC`` or ``HEIF``.
    :param width: px; None for the last three.
    :param height: px; None for the last three.
    :param has_alpha: whether it has an alpha channel. A palette with one transparent colour is none.
    """

    format: str
    width: int | None
    height: int | None
    has_alpha: bool


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a sound's header says.

    :param format: ``WAV``, ``MP3``, or another in upper case.
    :param duration_s: length in s; of an mp3 with neither constant bitrate nor an index, an estimate.
    """

    format: str
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a clip's header says.

    :param duration_s: length in s.
    :param width: px, as shown.
    :param height: px, as shown.
    """

    duration_s: float | None
    width: int | None
    height: int | None


def probe_image(file: BinaryIO) -> ImageFacts:
    """Read an image's header.

    :param file: anything that can seek; it stays open. What reading it raises passes through.
    :raises NotMediaError: when it is no image of a known format.
    """
    return _probe(file, _image_facts, "no image of a known format")


def probe_audio(file: BinaryIO) -> AudioFacts:
    """Read a sound's header, and as much of an mp3 as its length takes to tell; see `probe_image`.

    :raises NotMediaError: when it is no sound of a known format.
    """
    return _probe(file, _audio_facts, "no sound of a known format")


def probe_clip(file: BinaryIO) -> ClipFacts:
    """Read a clip's header; see `probe_image`.

    :raises NotMediaError: when it is no mp4 or mov, or is not complete.
    """
    return _probe(file, _clip_facts, "no mp4 or mov")


def _image_facts(file: BinaryIO) -> ImageFacts:
    head = file.read(30)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_facts(head)
    if head[4:8] == b"ftyp" and head[8:12] in _ISO_BRANDS:
        return ImageFacts(_ISO_BRANDS[head[8:12]], None, None, has_alpha=False)
    file.seek(0)
    with warnings.catch_warnings():
        # A picture too big to be decoded here is told by its sides.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file, formats=_MEASURED) as image:
            # A photo with a second picture in it (a phone's depth map) is a JPEG to everybody else.
            name = "JPEG" if image.format == "MPO" else str(image.format)
            return ImageFacts(name, *image.size, has_alpha="A" in image.getbands())


def _webp_facts(head: bytes) -> ImageFacts:
    """A WebP's first chunk (RFC 9649): lossy, lossless, or the extended header before either."""
    kind = head[12:16]
    if kind == b"VP8X":
        flags, *_, width, height = struct.unpack("<B3s3s3s", head[20:30])
        width, height = (int.from_bytes(side, "little") + 1 for side in (width, height))
        return ImageFacts("WEBP", width, height, has_alpha=bool(flags & 0x10))
    if kind == b"VP8L" and head[20] == 0x2F:  # noqa: PLR2004 - its signature
        (bits,) = struct.unpack("<I", head[21:25])
        return ImageFacts("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, has_alpha=bool(bits >> 28 & 1))
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return ImageFacts("WEBP", width & 0x3FFF, height & 0x3FFF, has_alpha=False)
    raise NotMediaError("is a WebP with a broken header")


def _audio_facts(file: BinaryIO) -> AudioFacts:
    tag = TinyTag.get(file_obj=file, tags=False)
    kind = (tag.mime_type or "").partition(";")[0]
    name = _SOUNDS.get(kind, kind.rpartition("/")[2].upper())
    duration = tag.duration
    if kind == "audio/mpeg" and not duration:
        raise NotMediaError("is no sound of a known format")  # its first bytes passed for an mp3's; no frame followed
    if duration and tag.bitrate:
        # A recorder that could not seek back leaves the greatest length there is in the header.
        duration = min(duration, tag.filesize * 8 / (tag.bitrate * 1000))
    return AudioFacts(name, round(duration, 3) if duration else None)


def _clip_facts(file: BinaryIO) -> ClipFacts:
    try:
        facts = inspect_file(file)
    except NotAVideoError as error:
        raise NotMediaError(f"is no mp4 or mov that can be read: {error}") from None
    return ClipFacts(facts.duration_s, facts.width, facts.height)


def _probe(file: BinaryIO, read_facts: Callable[[BinaryIO], T], otherwise: str) -> T:
    """Run a parser over a file, which may raise anything on bytes it was not made for."""
    view = _View(file)
    try:
        view.seek(0)
        return read_facts(cast("BinaryIO", view))
    except Exception as error:
        if view.failure is not None:
            raise view.failure from None
        if isinstance(error, NotMediaError):
            raise
        if isinstance(error, Image.DecompressionBombError):
            raise NotMediaError("has more pixels than any gateway takes") from None
        raise NotMediaError(f"is {otherwise}, or its header is broken") from None


class _View(io.RawIOBase):
    """A file that can only be read, and not for long; it remembers why reading failed, whatever a parser makes of it.

    :ivar failure: what went wrong with the file itself.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MOST_BYTES_READ
        self.failure: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        """See `io.RawIOBase.read`; never more than is left of `MOST_BYTES_READ`."""
        if size < 0 or size > self._left:
            size = self._left + 1
        try:
            content = self._file.read(size)
        except Exception as error:
            self.failure = error
            raise
        self._left -= len(content)
        if self._left < 0:
            self.failure = HeaderTooLongError(f"says nothing of itself in the {MOST_BYTES_READ:,} bytes that were read")
            raise self.failure
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.RawIOBase.seek`."""
        if whence == io.SEEK_SET and offset < 0:
            raise OSError("sought to before the begin of the file")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """See `io.RawIOBase.tell`."""
        return self._file.tell()

    def readable(self) -> bool:
        """It can."""
        return True

    def seekable(self) -> bool:
        """It can."""
        return True
