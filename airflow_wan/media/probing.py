"""What an image, a sound or a clip says of itself in its header; no pixel and no sample is decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from PIL import Image, UnidentifiedImageError
from tinytag import TinyTag, UnsupportedFormatError

from airflow_wan.exceptions import NotAVideoError, NotMediaError
from airflow_wan.media.mp4 import inspect_file

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Read by Pillow from their headers alone. Not WEBP, which it reads whole; nor what takes a foreign program to read.
_PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF")

# Pillow's name for a JPEG with a second picture behind it, as telephones make them.
_JPEG_IN_DISGUISE = "MPO"

# Kinds of box that begin a QuickTime file from before there was `ftyp` (QuickTime File Format, "Movie atoms").
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image's header.

    :param format: as Pillow names it: ``JPEG``, ``PNG``, ``WEBP``…
    :param width: px.
    :param height: px.
    :param has_alpha: whether pixels may be transparent.
    :param bytes: size of the file.
    """

    format: str
    width: int
    height: int
    has_alpha: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """A sound file's header.

    :param format: ``WAV``, ``MP3``, or the kind of any other sound: ``FLAC``, ``OGG``…
    :param duration_s: s, or None where the header does not tell.
    :param bytes: size of the file.
    """

    format: str
    duration_s: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """A clip's header.

    :param duration_s: s, or None where the header does not tell.
    :param width: px, as shown.
    :param height: px, as shown.
    :param bytes: size of the file.
    """

    duration_s: float | None
    width: int | None
    height: int | None
    bytes: int


MediaFacts = ImageFacts | AudioFacts | ClipFacts


def probe_image(file: BinaryIO) -> ImageFacts:
    """Read an image's header.

    :param file: anything that can seek; it stays open. What reading it raises passes through.
    :raises NotMediaError: when it is no image of a known format, or its header is broken.
    """
    return _parsed(file, _image_facts, "an image of a known format")


def probe_audio(file: BinaryIO) -> AudioFacts:
    """Read a sound file's header; of an MP3 without one, some frames, from which the length is reckoned.

    :param file: anything that can seek; it stays open. What reading it raises passes through.
    :raises NotMediaError: when it is no sound file of a known format, or its header is broken.
    """
    return _parsed(file, _audio_facts, "a sound file of a known format")


def probe_clip(file: BinaryIO) -> ClipFacts:
    """Read a clip's header.

    :param file: anything that can seek; it stays open.
    :raises NotMediaError: when it is no MP4 or MOV, or one that was cut.
    :raises OSError: when the file cannot be read, or is a QuickTime file too old to be told.
    """
    size = _size(file)
    kind = file.read(8)[4:]
    try:
        facts = inspect_file(file)
    except NotAVideoError as error:
        if kind in _OLD_QUICKTIME:
            raise OSError("it is a QuickTime file of an old kind") from None
        raise NotMediaError(f"an MP4 or MOV clip ({error})") from None
    return ClipFacts(facts.duration_s, facts.width, facts.height, size)


def _image_facts(file: BinaryIO) -> ImageFacts:
    size = _size(file)
    head = file.read(32)
    file.seek(0)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head, size)
    if head[4:8] == b"ftyp":
        raise NotMediaError(f"an image of a known format (its kind is {head[8:12].decode('ascii', 'replace')!r})")
    try:
        with Image.open(file, formats=_PILLOW_FORMATS) as image:
            name = "JPEG" if image.format == _JPEG_IN_DISGUISE else str(image.format)
            return ImageFacts(name, *image.size, image.has_transparency_data, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise NotMediaError(f"an image of a sensible size ({error})") from None


def _webp(head: bytes, size: int) -> ImageFacts:
    """RFC 9649: the first chunk tells the size, each of its three kinds in its own way."""
    kind = head[12:16]
    if kind == b"VP8X":
        (flags,) = struct.unpack_from("<B", head, 20)
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return ImageFacts("WEBP", width, height, bool(flags & 0x10), size)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return ImageFacts("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1), size)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return ImageFacts("WEBP", width & 0x3FFF, height & 0x3FFF, has_alpha=False, bytes=size)
    raise NotMediaError("a whole WEBP image")


def _audio_facts(file: BinaryIO) -> AudioFacts:
    size = _size(file)
    tag = TinyTag.get(file_obj=file, tags=False)
    kind = (tag.mime_type or "").partition(";")[0].removeprefix("audio/").removeprefix("x-")
    duration_s = tag.duration or None
    if kind == "mpeg" and duration_s is None:
        raise NotMediaError("a sound file of a known format")  # it began like an mp3, and not one frame followed
    if kind == "wav" and duration_s and tag.bitrate and tag.is_lossless:
        # Programs that write into a pipe announce 4 GB: there is no more sound than there is file.
        duration_s = min(duration_s, size * 8 / (tag.bitrate * 1000))
    return AudioFacts({"mpeg": "MP3"}.get(kind, kind.upper()), duration_s, size)


def _parsed(file: BinaryIO, read_facts: Callable[[BinaryIO], T], what: str) -> T:
    """Run a parser, which may raise anything on bytes it was not made for; that a file cannot be read is another thing.

    :param what: what the file should be.
    """
    view = _View(file)
    try:
        return read_facts(cast("BinaryIO", view))
    except NotMediaError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow and tinytag raise a dozen kinds
        if view.failure is not None:
            raise view.failure from None
        unknown = isinstance(error, (UnidentifiedImageError, UnsupportedFormatError))
        raise NotMediaError(what if unknown else f"{what} whose header can be read") from None


class _View:
    """A file as a parser sees it, which remembers why reading failed, whatever the parser makes of that.

    :ivar failure: what went wrong with the file itself.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.failure: Exception | None = None
        self.seek = file.seek
        self.tell = file.tell
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """As the file's own."""
        try:
            return self._file.read(size)
        except Exception as error:
            self.failure = error
            raise


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size
