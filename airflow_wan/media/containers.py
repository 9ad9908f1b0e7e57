"""Names what a file is by its first bytes, for messages: an author who gives a WebM should read that it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_BEGINNING_BYTES = 512

_TEXT = bytes([*b"\t\n\r", *range(0x20, 0x7F), *range(0x80, 0x100)])  # ASCII, and what other scripts are encoded with

_EBML = b"\x1aE\xdf\xa3"
_TRANSPORT_STREAM_BYTES = 188  # of a packet, each of which begins with the same byte

# The first bytes, where something else follows after four others, and the name.
_KINDS = (
    (b"RIFF", b"AVI ", "an AVI"),
    (b"RIFF", b"WAVE", "a WAV"),
    (b"RIFF", b"WEBP", "a WEBP image"),
    (b"FORM", b"AIFF", "an AIFF"),
    (b"FORM", b"AIFC", "an AIFF"),
    (b"OggS", b"", "an Ogg file"),
    (b"FLV", b"", "an FLV"),
    (b"\0\0\x01\xba", b"", "an MPEG program stream"),
    (b"\0\0\x01\xb3", b"", "an MPEG video stream"),
    (b"0&\xb2u\x8ef\xcf\x11", b"", "a Windows Media file"),
    (b".RMF", b"", "a RealMedia file"),
    (b"\x89PNG\r\n\x1a\n", b"", "a PNG image"),
    (b"\xff\xd8\xff", b"", "a JPEG image"),
    (b"GIF8", b"", "a GIF"),
    (b"II*\0", b"", "a TIFF"),
    (b"MM\0*", b"", "a TIFF"),
    (b"II+\0", b"", "a TIFF"),
    (b"MM\0+", b"", "a TIFF"),
    (b"\0\0\0\x0cjP  ", b"", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL ", b"", "a JPEG XL image"),
    (b"\xff\x0a", b"", "a JPEG XL image"),
    (b"8BPS", b"", "a Photoshop file"),
    (b"fLaC", b"", "a FLAC"),
    (b"caff", b"", "a CAF"),
    (b".snd", b"", "an AU"),
    (b"riff.\x91\xcf\x11", b"", "a Wave64"),
    (b"#!AMR", b"", "an AMR"),
    (b"\x0bw", b"", "an AC-3 stream"),
    (b"%PDF-", b"", "a PDF"),
    (b"PK\x03\x04", b"", "a ZIP archive"),
    (b"\x1f\x8b", b"", "a gzip file"),
)


def what_it_is(file: BinaryIO) -> str | None:
    """Return what a file is, such as ``it is a WebM`` or ``it holds text``; its content is not quoted.

    None if its first bytes do not tell, or it is an MP4 or MOV.

    :param file: a seekable file. Errors of reading it are not caught.
    """
    file.seek(0)
    beginning = file.read(_BEGINNING_BYTES)
    name = _name_of(beginning)
    if name is not None:
        return f"it is {name}"
    return "it holds text" if beginning and not beginning.translate(None, _TEXT) else None


def _name_of(beginning: bytes) -> str | None:
    if beginning.startswith(_EBML):
        return "a WebM" if b"webm" in beginning[:64] else "a Matroska file"
    for magic, inner, name in _KINDS:
        if beginning.startswith(magic) and beginning[8:].startswith(inner):
            return name
    if beginning[:1] == b"G" and beginning[_TRANSPORT_STREAM_BYTES : _TRANSPORT_STREAM_BYTES + 1] == b"G":
        return "an MPEG transport stream"
    return None
