"""Measure images, sound files and video clips, mostly by their headers; no pixel and no sample is decoded."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from PIL import Image, UnidentifiedImageError
from tinytag import TinyTag, UnsupportedFormatError

from airflow_wan.exceptions import NotAVideoError, NotMediaError
from airflow_wan.media.containers import what_it_is
from airflow_wan.media.mp4 import inspect_file
from airflow_wan.media.pictures import read_picture
from airflow_wan.media.sounds import APE_MAGIC, WAV_MAGIC, mpeg_sound, wav_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Pillow reads these by their headers alone, and needs other programs for some other formats.
_PILLOW_FORMATS = ("JPEG", "GIF")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF

# Pillow's name for a JPEG that is followed by a second picture; phones make them.
_MULTI_PICTURE_JPEG = "MPO"

# Types of the first box in QuickTime files that are older than the `ftyp` box (QuickTime File Format, "Movie atoms").
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


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
    :param duration_s: length in seconds; None if it could not be measured.
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
    """Measure a sound file; the frames of an MP3 are counted.

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
        raise NotMediaError(f"an MP4 or MOV clip ({what_it_is(file) or error})") from None
    if not facts.width or not facts.height:
        raise NotMediaError("an MP4 or MOV clip (it has no picture track)")
    return ClipFacts(facts.duration_s, facts.width, facts.height, size)


def _image_facts(file: BinaryIO) -> ImageFacts:
    size = _size(file)
    head = file.read(12)
    if head[4:8] == b"ftyp":
        raise NotMediaError(f"an image of a known format (its kind is {head[8:12].decode('ascii', 'replace')!r})")
    if head.startswith(_TIFF_MAGIC):  # no model takes it, and its directories can make a reader work for seconds
        raise NotMediaError("an image of a known format (it is a TIFF)")
    if picture := read_picture(file, size):
        return ImageFacts(picture.format, picture.width, picture.height, picture.has_alpha, size)
    file.seek(0)
    try:
        with Image.open(file, formats=_PILLOW_FORMATS) as image:
            name = "JPEG" if image.format == _MULTI_PICTURE_JPEG else str(image.format)
            return ImageFacts(name, *image.size, image.has_transparency_data, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise NotMediaError(f"an image of a sensible size ({error})") from None


def _audio_facts(file: BinaryIO) -> AudioFacts:
    size = _size(file)
    head = file.read(12)
    if head[:4] in WAV_MAGIC and head[8:] == b"WAVE":
        return AudioFacts("WAV", wav_seconds(file, size), size)
    if head.startswith((b"ID3", b"\xff", APE_MAGIC)) or not any(head):  # some files begin with zeros
        sound = mpeg_sound(file, size)
        if sound is None:
            raise NotMediaError("a sound file of a known format")  # it begins like an MP3, but no frames follow
        return AudioFacts(sound.format, sound.seconds, size)
    file.seek(0)
    tag = TinyTag.get(file_obj=file, tags=False)
    if not tag.samplerate:
        raise NotMediaError("a sound file with a readable header")  # it has the first bytes of one, and no more
    kind = (tag.mime_type or "").partition(";")[0].removeprefix("audio/").removeprefix("x-")
    return AudioFacts(kind.upper(), tag.duration or None, size)


def _parse(file: BinaryIO, read_facts: Callable[[BinaryIO], T], expected: str) -> T:
    """Run a parser, and tell a file that it cannot parse from a file that cannot be read.

    :param file: the file.
    :param read_facts: the parser; it may raise any error on unexpected bytes.
    :param expected: what the file should be, for the message.
    :raises NotMediaError: when the parser fails.
    """
    recording = RecordingFile(file)
    try:
        return read_facts(cast("BinaryIO", recording))
    except NotMediaError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow and tinytag raise a dozen kinds
        if recording.failure is not None:
            raise recording.failure from None
        unknown = isinstance(error, (UnidentifiedImageError, UnsupportedFormatError))
        raise NotMediaError(expected if unknown else f"{expected} with a readable header") from None


class RecordingFile:
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
