"""The catalogue: what each model takes, in one table, with the source of every figure beside it.

Model ids are configuration: an id that is not in the table is sent as given, with a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOLUTIONS = ("720P", "1080P")
MAX_SEED = 2_147_483_647
"""Largest ``seed``, both gateways (0 is the smallest)."""


@dataclass(frozen=True, slots=True)
class Integer:
    """A JSON integer between two bounds, both allowed."""

    minimum: int
    maximum: int

    def __str__(self) -> str:
        """The allowed values, for people."""
        return f"an integer from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class Boolean:
    """A JSON boolean."""

    def __str__(self) -> str:
        """The allowed values, for people."""
        return "true or false"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings, spelled exactly so."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        """The allowed values, for people."""
        return " or ".join(f'"{value}"' for value in self.values)


Parameter = Integer | Boolean | Choice

MB = 1024 * 1024
"""Bytes in what the gateways call MB; the larger of its two meanings."""


class MediaKind(StrEnum):
    """What a media item is made of."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image must be.

    :param formats: file formats, as Pillow names them.
    :param shortest_side_px: least width and height, px.
    :param longest_side_px: greatest width and height, px.
    :param widest_ratio: longer side over shorter side, at most.
    :param largest_bytes: size of the file, bytes.
    :param png_alpha: whether a PNG may have an alpha channel.
    """

    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP")
    shortest_side_px: int = 240
    longest_side_px: int = 8000
    widest_ratio: float = 8.0
    largest_bytes: int = 20 * MB
    png_alpha: bool = False


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What a sound file must be.

    :param formats: ``WAV``, ``MP3``.
    :param shortest_s: least length, s.
    :param longest_s: greatest length, s.
    :param largest_bytes: size of the file, bytes.
    """

    formats: tuple[str, ...] = ("WAV", "MP3")
    shortest_s: float = 2.0
    longest_s: float = 30.0
    largest_bytes: int | None = 15 * MB


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What a video given as input must be; None where nothing is documented.

    :param shortest_s: least length, s.
    :param longest_s: greatest length, s.
    :param shortest_side_px: least width and height, px.
    :param longest_side_px: greatest width and height, px.
    :param largest_bytes: size of the file, bytes.
    """

    shortest_s: float | None = 2.0
    longest_s: float | None = 10.0
    shortest_side_px: int | None = 240
    longest_side_px: int | None = 4096
    largest_bytes: int | None = 100 * MB


MediaLimits = ImageLimits | AudioLimits | ClipLimits


@dataclass(frozen=True, slots=True)
class Model:
    """What one model, with all its dated snapshots, takes.

    :param media_sets: the legal combinations of ``input.media`` types, each type at most once.
    :param parameters: the known ``parameters``, by their wire name.
    :param prompt_chars: longest ``prompt``, characters. The gateway cuts a longer one silently.
    :param negative_prompt_chars: longest ``negative_prompt``, characters; 0 where there is none.
    :param legacy_media: for models that DashScope takes in its older body: media type → field of ``input``.
        APIYI documents one schema for all, so the table applies on DashScope only.
    :param limits: media type (or ``reference_voice``) → what its file must be, where the gateway says.
    :param notes: media type → why this model does not take it, where people expect it to.
    """

    media_sets: tuple[frozenset[str], ...]
    parameters: Mapping[str, Parameter]
    prompt_chars: int
    negative_prompt_chars: int
    legacy_media: Mapping[str, str] | None = None
    limits: Mapping[str, MediaLimits] = field(default_factory=dict)
    notes: Mapping[str, str] | None = None

    @property
    def media_types(self) -> frozenset[str]:
        """Every media type that is legal in some combination."""
        return frozenset().union(*self.media_sets)


def _sets(*combinations: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(combination.split()) for combination in combinations)


IMAGE_TYPES = frozenset({"first_frame", "last_frame", "reference_image"})
"""Media types that are images: the only ones the gateways also take as base64 ``data:`` URIs."""

MEDIA_KINDS: Mapping[str, MediaKind] = {
    "first_frame": MediaKind.IMAGE,
    "last_frame": MediaKind.IMAGE,
    "reference_image": MediaKind.IMAGE,
    "driving_audio": MediaKind.AUDIO,
    "reference_audio": MediaKind.AUDIO,
    "reference_voice": MediaKind.AUDIO,
    "audio_url": MediaKind.AUDIO,
    "first_clip": MediaKind.VIDEO,
    "reference_video": MediaKind.VIDEO,
    "video": MediaKind.VIDEO,
}
"""What stands behind each media type, and behind the two fields that are no types but hold a URL all the same."""

WAN27_I2V = Model(
    # Alibaba's wan2.7 image-to-video reference. APIYI documents first_frame and driving_audio alone; whether it
    # forwards the others is unknown, so they are neither forbidden nor promised there.
    media_sets=_sets(
        "first_frame",
        "first_frame driving_audio",
        "first_frame last_frame",
        "first_frame last_frame driving_audio",
        "first_clip",
        "first_clip last_frame",
    ),
    # APIYI wan2.7-i2v page and Alibaba's reference agree on these. No `ratio`: it follows the image.
    parameters={
        "resolution": Choice(RESOLUTIONS),
        "duration": Integer(2, 15),
        "prompt_extend": Boolean(),
        "watermark": Boolean(),
        "seed": Integer(0, MAX_SEED),
    },
    prompt_chars=5000,
    negative_prompt_chars=500,
    # Alibaba's wan2.7 image-to-video reference.
    limits={
        "first_frame": ImageLimits(),
        "last_frame": ImageLimits(),
        "driving_audio": AudioLimits(),
        "first_clip": ClipLimits(),
    },
)

WAN26_I2V = Model(
    # APIYI: "same endpoint and schema, only the model name changes". Alibaba's own body is the older one: img_url, and
    # audio_url (the field of the `dashscope` SDK's legacy call).
    media_sets=_sets("first_frame", "first_frame driving_audio"),
    parameters=WAN27_I2V.parameters,
    # Alibaba's figure for the wan2.6 family (stated for wan2.6-t2v).
    prompt_chars=1500,
    negative_prompt_chars=500,
    legacy_media={"first_frame": "img_url", "driving_audio": "audio_url"},
)

_HAPPYHORSE_NOTE = "HappyHorse image-to-video cannot be driven by audio; use wan2.7-i2v for lip-sync"

HAPPYHORSE_I2V = Model(
    media_sets=_sets("first_frame"),
    # The gateways disagree: Alibaba says 3 to 15 s and knows no prompt_extend; APIYI says 2 to 15 and does. The wider
    # of the two is taken here, and the gateway has the last word.
    parameters=WAN27_I2V.parameters,
    prompt_chars=5000,
    negative_prompt_chars=500,
    notes={"driving_audio": _HAPPYHORSE_NOTE},
)

_CATALOGUE = {
    "wan2.7-i2v": WAN27_I2V,
    "wan2.6-i2v": WAN26_I2V,
    "happyhorse-1.1-i2v": HAPPYHORSE_I2V,
    "happyhorse-1.0-i2v": HAPPYHORSE_I2V,
}

_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def find_model(model_id: str) -> Model | None:
    """The table's row for a model id; dated snapshots (``wan2.7-i2v-2026-04-25``) follow their family."""
    return _CATALOGUE.get(family_of(model_id))


def family_of(model_id: str) -> str:
    """A model id without its snapshot date."""
    return _SNAPSHOT_DATE.sub("", model_id)


def known_model_ids() -> tuple[str, ...]:
    """The ids in the table, for messages."""
    return tuple(_CATALOGUE)
