"""Makes a copy of a picture that fits the gateway's limits: nothing is enlarged, and nothing is cut off.

The same picture makes the same copy, byte by byte, with the same version of Pillow. A picture may come from a stranger:
no more pixels are unpacked than Pillow itself holds for harmless, and only the first picture of a file is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import ExifTags, Image, ImageOps

from airflow_wan.api.rules import MB
from airflow_wan.media.preflight import violations
from airflow_wan.media.probing import ImageFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.api.rules import ImageLimits

INSTALL = "pip install 'airflow-provider-wan[adapt]'"
"""The command that installs what reads pictures and sounds of other formats."""

MAX_PX = 89_000_000
"""Most pixels that are unpacked; in RGB they take 267 MB of memory. Pillow warns of a picture that has more."""

# Pillow's readers of further formats need other programs, or serve formats that nobody has photographs in.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "AVIF")
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_OF_MANY_PICTURES = frozenset({"GIF", "TIFF", "AVIF", "HEIC"})

# What is stored without loss stays so, unless it has the pixels of a photograph, which PNG hardly makes smaller.
_WITHOUT_LOSS = frozenset({"PNG", "BMP", "GIF", "TIFF"})
_LARGEST_PNG_PX = 16_000_000

_JPEG_QUALITIES = (95, 85, 75)
_SHRINKS = tuple(0.8**number for number in range(12))
"""Scales that are tried one after the other until the file is small enough."""

_WITH_A_PROFILE = frozenset({"RGB", "RGBA", "P"})
"""Modes whose colour profile is still right for the copy, which is RGB."""


class CannotFitError(Exception):
    """A file cannot be made to fit; the text says why, as the end of a sentence without its full stop."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A copy that fits.

    :param content: the file.
    :param suffix: how its name ends: ``.png``, ``.jpg`` or ``.wav``.
    :param changes: what was done to the original, in words.
    """

    content: bytes
    suffix: str
    changes: tuple[str, ...]


def fit_picture(
    file: BinaryIO, limits: ImageLimits, *, facts: ImageFacts | None, fits: bool, largest_bytes: int
) -> Fitted | None:
    """Return a copy of a picture that fits and is upright; None if the picture itself is both.

    :param file: the picture, opened.
    :param limits: what the gateway takes.
    :param facts: what the picture's header says; None if it is of none of the formats that are measured.
    :param fits: whether the picture itself can be sent.
    :param largest_bytes: greatest size of the copy, in bytes.
    :raises CannotFitError: when there can be no such copy.
    :raises Exception: when the file cannot be read or decoded; Pillow raises a dozen kinds.
    """
    image, kind = _opened(file)
    if fits and (image.width * image.height > MAX_PX or not _is_turned(image)):
        return None
    _check_pixels(image.size)
    _check_shape(image.size, limits, is_told=facts is not None)
    picture, changes = _upright_on_white(image)
    size = _within(picture.size, limits.longest_side_px)
    if size != picture.size:
        changes.append(f"scaled from {picture.width}x{picture.height} to {size[0]}x{size[1]} px")
        picture = _scaled(picture, size)
    profile = image.info.get("icc_profile") if image.mode in _WITH_A_PROFILE else None
    for content, copy_kind, change in _encodings(picture, kind, limits, profile):
        if len(content) <= largest_bytes:
            return Fitted(content, {"PNG": ".png", "JPEG": ".jpg"}[copy_kind], (*changes, change))
    raise CannotFitError(f"it has more than {largest_bytes / MB:g} MB, however small it is made")


def _opened(file: BinaryIO) -> tuple[Image.Image, str]:
    """Return a picture of which only the header is read, and the name of its format."""
    head = file.read(64)
    file.seek(0)
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)}
        if brands & _HEIC_BRANDS and not brands & _AVIF_BRANDS:
            return _opened_heic(file), "HEIC"
        if brands & _AVIF_BRANDS and "AVIF" not in _readable():
            raise CannotFitError(f"AVIF needs Pillow 11.3 or later: {INSTALL}")
    image = Image.open(file, formats=_readable())
    return image, "JPEG" if image.format == "MPO" else str(image.format)


def _readable() -> list[str]:
    """Return the formats that this version of Pillow reads."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _opened_heic(file: BinaryIO) -> Any:
    try:
        import pillow_heif  # noqa: PLC0415 - an extra
    except ImportError:
        raise CannotFitError(f"HEIC needs pillow-heif, which is not installed: {INSTALL}") from None
    image = pillow_heif.open_heif(file.read())
    _check_pixels(image.size)
    return image.to_pillow()


def _check_pixels(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PX:
        raise CannotFitError(f"it has {size[0]}x{size[1]} px, and at most {MAX_PX:,} px are unpacked")


def _is_turned(image: Image.Image) -> bool:
    """Return whether a viewer has to turn or mirror the picture, as its EXIF data say."""
    return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)


def _check_shape(size: tuple[int, int], limits: ImageLimits, *, is_told: bool) -> None:
    """Return only if a picture of this size can fit.

    :param size: its width and height, in pixels.
    :param limits: what the gateway takes.
    :param is_told: whether its user is told anyway which limits it breaks.
    :raises CannotFitError: when it is too small or too narrow.
    """
    if not _broken_by(_within(size, limits.longest_side_px), limits):
        return
    why = "" if is_told else "".join(f"it {problem}, and " for problem in _broken_by(size, limits))
    raise CannotFitError(f"{why}nothing is enlarged or cut off")


def _broken_by(size: tuple[int, int], limits: ImageLimits) -> list[str]:
    return list(violations(ImageFacts(limits.formats[0], *size, has_alpha=False, bytes=0), limits))


def _within(size: tuple[int, int], longest_side_px: int | None) -> tuple[int, int]:
    """Return a size whose longer side is within the limit; the shorter side is rounded up, so that no ratio grows."""
    longer = max(size)
    if longest_side_px is None or longer <= longest_side_px:
        return size
    width, height = (-(-side * longest_side_px // longer) for side in size)
    return width, height


def _scaled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _upright_on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Return a picture in RGB, upright and without transparency, and what was done to it in words."""
    changes = []
    picture = image
    if _is_turned(image):
        changes.append("turned upright, as its EXIF data say")
        picture = ImageOps.exif_transpose(image)
    if picture.mode.startswith("I;16"):  # Pillow would make white of all but the darkest 256 of 65,536 greys
        picture = picture.point(lambda grey: grey * (1 / 256)).convert("L")
    elif picture.mode in ("I", "F"):
        raise CannotFitError("its pixels are numbers, and not colours")
    elif picture.has_transparency_data:
        changes.append("its transparency laid on white")
    return on_white(picture), changes


def on_white(picture: Image.Image) -> Image.Image:
    """Return a picture in RGB; what is transparent of it shows white."""
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    colours = picture if picture.mode == "RGBA" else picture.convert("RGBA")  # each copy takes a lot of memory
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=colours.getchannel("A"))
    return white


def _encodings(
    picture: Image.Image, kind: str, limits: ImageLimits, profile: bytes | None
) -> Iterator[tuple[bytes, str, str]]:
    """Yield ever smaller files of a picture, each with its format and what was done, in words."""
    origin = f"{kind} (its first picture)" if kind in _OF_MANY_PICTURES else kind
    if kind in _WITHOUT_LOSS and picture.width * picture.height <= _LARGEST_PNG_PX:
        change = "stored as PNG anew" if kind == "PNG" else f"converted from {origin} to PNG"
        yield _saved(picture, "PNG", icc_profile=profile), "PNG", change
    for scale in _SHRINKS:
        size = round(picture.width * scale), round(picture.height * scale)
        if min(size) < (limits.shortest_side_px or 1):
            return
        smaller = picture if scale == 1 else _scaled(picture, size)
        for quality in _JPEG_QUALITIES:
            change = "compressed anew" if kind == "JPEG" else f"converted from {origin} to JPEG"
            change += f" in quality {quality}" + ("" if scale == 1 else f" at {size[0]}x{size[1]} px")
            content = _saved(smaller, "JPEG", quality=quality, subsampling="4:4:4", icc_profile=profile)
            yield content, "JPEG", change


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()
