"""Read the headers of images, sound files and video clips; no pixel and no sample is decoded."""

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

# Pillow reads these by their headers alone. It reads a WEBP completely, and needs other programs for some formats.
_PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF")

# Pillow's name for a JPEG that is followed by a second picture; phones make them.
_MULTI_PICTURE_JPEG = "MPO"

# Types of the first box in QuickTime files that are older than the `ftyp` box (QuickTime File Format, "Movie atoms").
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})

# Bit rates of MP3 frames in kbit/s, by their index from 1 (ISO/IEC 11172-3 and 13818-3, layer III).
_MPEG1_KBIT = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBIT = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

_MAX_WAV_CHUNKS = 100  # before the sound; most files have one or two
_MP3_FRAMES = 3  # so many in a row are no chance
_MP3_SEARCHED_BYTES = 64 * 1024  # of what some programs put between the tag and the first frame


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image's header says.

    :param format: the format's name in Pillow: ``JPEG``, ``PNG``, ``WEBP`` and so on.
    :param width: width in pixels.
    :param height: height in pixels.
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
    """What a sound file's header says.

    :param format: ``WAV``, ``MP3``, or the name of another format, such as ``FLAC`` or ``OGG``.
    :param duration_s: length in seconds; None if the header does not tell it.
    :param bytes: size of the file.
    """

    format: str
    duration_s: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a video clip's header says.

    :param duration_s: length in seconds; None if the header does not tell it.
    :param width: displayed width in pixels.
    :param height: displayed height in pixels.
    :param bytes: size of the file.
    """

    duration_s: float | None
    width: int
    height: int
    bytes: int


MediaFacts = ImageFacts | AudioFacts | ClipFacts


def probe_image(file: BinaryIO) -> ImageFacts:
    """Read an image's header.

    :param file: a seekable file; it stays open. Errors of reading it are not caught.
    :raises NotMediaError: when it is not an image of a known format, or its header is broken.
    """
    return _parse(file, _image_facts, "an image of a known format")


def probe_audio(file: BinaryIO) -> AudioFacts:
    """Read a sound file's header; the length of an MP3 without one is estimated from some of its frames.

    :param file: a seekable file; it stays open. Errors of reading it are not caught.
    :raises NotMediaError: when it is not a sound file of a known format, or its header is broken.
    """
    return _parse(file, _audio_facts, "a sound file of a known format")


def probe_clip(file: BinaryIO) -> ClipFacts:
    """Read a video clip's header.

    :param file: a seekable file; it stays open.
    :raises NotMediaError: when it is not an MP4 or MOV, is incomplete, or has no picture.
    :raises OSError: when the file cannot be read, or is an old kind of QuickTime file.
    """
    size = _size(file)
    kind = file.read(8)[4:]
    try:
        facts = inspect_file(file)
    except NotAVideoError as error:
        if kind in _OLD_QUICKTIME:
            raise OSError("it is an old kind of QuickTime file") from None
        raise NotMediaError(f"an MP4 or MOV clip ({error})") from None
    if not facts.width or not facts.height:
        raise NotMediaError("an MP4 or MOV clip (it has no picture track)")
    return ClipFacts(facts.duration_s, facts.width, facts.height, size)


def _image_facts(file: BinaryIO) -> ImageFacts:
    size = _size(file)
    head = file.read(32)
    file.seek(0)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_facts(head, size)
    if head[4:8] == b"ftyp":
        raise NotMediaError(f"an image of a known format (its kind is {head[8:12].decode('ascii', 'replace')!r})")
    try:
        with Image.open(file, formats=_PILLOW_FORMATS) as image:
            name = "JPEG" if image.format == _MULTI_PICTURE_JPEG else str(image.format)
            return ImageFacts(name, *image.size, image.has_transparency_data, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise NotMediaError(f"an image of a sensible size ({error})") from None


def _webp_facts(head: bytes, size: int) -> ImageFacts:
    """Read the first chunk of a WEBP: each of its three types has the image's size in another layout (RFC 9649)."""
    kind = head[12:16]
    if int.from_bytes(head[4:8], "little") + 8 > size:
        raise NotMediaError("a complete WEBP image")
    if kind == b"VP8X":
        (flags,) = struct.unpack_from("<B", head, 20)
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return ImageFacts("WEBP", width, height, bool(flags & 0x10), size)
    if kind == b"VP8L" and head[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", head, 21)
        return ImageFacts("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1), size)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return ImageFacts("WEBP", width & 0x3FFF, height & 0x3FFF, has_alpha=False, bytes=size)
    raise NotMediaError("a complete WEBP image")


def _audio_facts(file: BinaryIO) -> AudioFacts:
    size = _size(file)
    tag = TinyTag.get(file_obj=file, tags=False)
    kind = (tag.mime_type or "").partition(";")[0].removeprefix("audio/").removeprefix("x-")
    duration_s = tag.duration or None
    if kind == "mpeg" and (duration_s is None or not _has_mp3_frames(file)):
        raise NotMediaError("a sound file of a known format")  # it begins like an MP3, but no frames follow
    if not tag.samplerate or (kind == "wav" and not _has_wav_chunks(file)):
        raise NotMediaError("a sound file with a readable header")  # it has the first bytes of one, and no more
    if kind == "wav" and duration_s and tag.bitrate and tag.is_lossless:
        # Programs that write into a pipe announce 4 GB; the sound cannot be longer than the file.
        duration_s = min(duration_s, size * 8 / (tag.bitrate * 1000))
    return AudioFacts({"mpeg": "MP3"}.get(kind, kind.upper()), duration_s, size)


def _has_wav_chunks(file: BinaryIO) -> bool:
    """Return whether a WAV has a format that makes sense, and sound behind it."""
    has_format, at = False, 12
    for _ in range(_MAX_WAV_CHUNKS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 16 or head[:4] == b"data":  # noqa: PLR2004 - a chunk's head, and the format's first fields
            return has_format and head[:4] == b"data"
        (size,) = struct.unpack_from("<I", head, 4)
        if head[:4] == b"fmt ":
            channels, rate = struct.unpack_from("<HI", head, 10)
            has_format = 16 <= size <= 1024 and 1 <= channels <= 256 and 1000 <= rate <= 1_000_000  # noqa: PLR2004
        at += 8 + size + size % 2
    return False


def _has_mp3_frames(file: BinaryIO) -> bool:
    """Return whether MP3 frames follow each other after the tag, if there is one (ISO/IEC 11172-3, 2.4.2.3).

    Text in UTF-16 begins like a frame; that another one follows exactly at its end is no chance.
    """
    file.seek(0)
    head = file.read(10)
    file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False)))
    if head[:3] != b"ID3":
        file.seek(0)
    content = file.read(_MP3_SEARCHED_BYTES)
    start = content.find(b"\xff")
    while start >= 0:
        at, frames = start, 0
        while frames < _MP3_FRAMES and (length := _mp3_frame_bytes(content[at : at + 4])):
            at, frames = at + length, frames + 1
        if frames == _MP3_FRAMES:
            return True
        start = content.find(b"\xff", start + 1)
    return False


def _mp3_frame_bytes(header: bytes) -> int:
    """Return the length of the MP3 frame that begins with these four bytes; 0 when none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # noqa: PLR2004 - sync word and layer III
        return 0
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:  # noqa: PLR2004 - all three are reserved
        return 0
    is_first = version == 3  # noqa: PLR2004 - MPEG-1, not MPEG-2 or 2.5
    kbit = (_MPEG1_KBIT if is_first else _MPEG2_KBIT)[bitrate - 1]
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return (144_000 if is_first else 72_000) * kbit // hertz + (header[2] >> 1 & 1)


def _parse(file: BinaryIO, read_facts: Callable[[BinaryIO], T], expected: str) -> T:
    """Run a parser, and tell a file that it cannot parse from a file that cannot be read.

    :param file: the file.
    :param read_facts: the parser; it may raise any error on unexpected bytes.
    :param expected: what the file should be, for the message.
    :raises NotMediaError: when the parser fails.
    """
    recording = _RecordingFile(file)
    try:
        return read_facts(cast("BinaryIO", recording))
    except NotMediaError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow and tinytag raise a dozen kinds
        if recording.failure is not None:
            raise recording.failure from None
        unknown = isinstance(error, (UnidentifiedImageError, UnsupportedFormatError))
        raise NotMediaError(expected if unknown else f"{expected} with a readable header") from None


class _RecordingFile:
    """A file that records the error of a failed read, because the parser may hide that error.

    :ivar failure: the error, if reading failed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.failure: Exception | None = None
        self.seek = file.seek
        self.tell = file.tell
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read from the file."""
        try:
            return self._file.read(size)
        except Exception as error:
            self.failure = error
            raise


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size
