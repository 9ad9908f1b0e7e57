"""The types in which the catalogue states what a model takes: its parameters, its media, and their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MB = 1024 * 1024
"""Bytes in what the gateways call MB; they do not say which of its two meanings they use, and this is the larger."""


# --------------------------------------------------------------------------------------------------------------------
# Parameters


@dataclass(frozen=True, slots=True)
class Integer:
    """A JSON integer between two bounds, both included.

    :param also: one value outside the bounds that has a meaning of its own, such as -1 for "the model decides".
    """

    minimum: int
    maximum: int
    also: int | None = None

    def allows(self, number: int) -> bool:
        """Return whether the rule allows a number."""
        return self.minimum <= number <= self.maximum or number == self.also

    @property
    def largest(self) -> int:
        """The largest value that is allowed."""
        return self.maximum if self.also is None else max(self.maximum, self.also)

    def __str__(self) -> str:
        """Return the allowed values, for messages."""
        also = "" if self.also is None else f", or {self.also}"
        if self.minimum == self.maximum:
            return f"{self.minimum}{also}"
        return f"an integer from {self.minimum} to {self.maximum}{also}"


@dataclass(frozen=True, slots=True)
class Boolean:
    """A JSON boolean."""

    def __str__(self) -> str:
        """Return the allowed values, for messages."""
        return "true or false"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings, in exactly this spelling."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        """Return the allowed values, for messages."""
        return " or ".join(f'"{value}"' for value in self.values)


Parameter = Integer | Boolean | Choice


# --------------------------------------------------------------------------------------------------------------------
# Files


class MediaKind(StrEnum):
    """What a media file contains."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    OTHER = "other"


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
"""Kind of file by media type, and by the two other fields that hold a URL: ``reference_voice`` and ``audio_url``."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image must be; None where no limit is documented. The defaults are those of wan2.7-i2v (Alibaba).

    :param formats: file formats, in Pillow's names.
    :param shortest_side_px: least width and height, in pixels.
    :param longest_side_px: greatest width and height, in pixels.
    :param widest_ratio: greatest ratio of the longer side to the shorter side.
    :param largest_bytes: greatest size of the file, in bytes.
    :param png_alpha: whether a PNG may have an alpha channel.
    :param data_uri: whether it may be sent inside the request, as a data URI.
    """

    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP")
    shortest_side_px: int | None = 240
    longest_side_px: int | None = 8000
    widest_ratio: float | None = 8.0
    largest_bytes: int | None = 20 * MB
    png_alpha: bool = False
    data_uri: bool = True


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What a sound file must be; None, or no formats, where no limit is documented. Defaults: wan2.7-i2v (Alibaba).

    :param formats: ``WAV``, ``MP3``.
    :param shortest_s: least length, in seconds.
    :param longest_s: greatest length, in seconds.
    :param largest_bytes: greatest size of the file, in bytes.
    """

    formats: tuple[str, ...] = ("WAV", "MP3")
    shortest_s: float | None = 2.0
    longest_s: float | None = 30.0
    largest_bytes: int | None = 15 * MB


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What an input video must be; None where no limit is documented. The defaults are those of wan2.7-i2v (Alibaba).

    :param shortest_s: least length, in seconds.
    :param longest_s: greatest length, in seconds.
    :param shortest_side_px: least width and height, in pixels.
    :param longest_side_px: greatest width and height, in pixels.
    :param widest_ratio: greatest ratio of the longer side to the shorter side.
    :param largest_bytes: greatest size of the file, in bytes.
    """

    shortest_s: float | None = 2.0
    longest_s: float | None = 10.0
    shortest_side_px: int | None = 240
    longest_side_px: int | None = 4096
    widest_ratio: float | None = None
    largest_bytes: int | None = 100 * MB


MediaLimits = ImageLimits | AudioLimits | ClipLimits


# --------------------------------------------------------------------------------------------------------------------
# Media


@dataclass(frozen=True, slots=True)
class Count:
    """How many media items of some types, counted together, a request may have."""

    types: tuple[str, ...]
    least: int
    most: int

    def __str__(self) -> str:
        """Return the rule, for messages."""
        types = " and ".join(self.types)
        if self.least == self.most:
            return f"exactly {self.most} {types}"
        return f"{self.least} to {self.most} {types}{' together' if len(self.types) > 1 else ''}"


@dataclass(frozen=True, slots=True)
class MediaRule:
    """Which items ``input.media`` may have.

    :param counts: how many of each type; a type that no count names is refused.
    :param sets: the only combinations that are allowed; empty where the counts are the whole rule.
    :param never_together: two groups of types; a request may have types of one group only.
    :param needs: for a type, the other type without which it cannot be.
    """

    counts: tuple[Count, ...] = ()
    sets: tuple[frozenset[str], ...] = ()
    never_together: tuple[frozenset[str], frozenset[str]] | None = None
    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def types(self) -> frozenset[str]:
        """Every media type that the model takes."""
        return frozenset(media_type for count in self.counts for media_type in count.types)


@dataclass(frozen=True, slots=True)
class LegacyBody:
    """DashScope's older request body, which wan2.6 and the models before it need.

    :param fields: field of ``input`` for each media type; items whose field is in `lists` are collected in a list.
    :param lists: which of these fields are lists.
    :param takes_size: whether ``parameters.size`` (``1280*720``) replaces ``resolution`` and ``ratio``.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()
    takes_size: bool = False


# --------------------------------------------------------------------------------------------------------------------
# Models


@dataclass(frozen=True, slots=True)
class Model:
    """What one model, with all its dated snapshots, takes at one gateway. The defaults are Wan's most common figures.

    :param media: which media items it takes.
    :param parameters: its ``parameters``, by their name in the request.
    :param prompt_chars: longest ``prompt``, in characters. The gateway silently cuts a longer one.
    :param chinese_chars: how many characters a Chinese character counts as in a ``prompt``.
    :param prompt_required: whether a request must have a prompt.
    :param negative_prompt_chars: longest ``negative_prompt``, in characters, cut likewise; 0 if the model takes none.
    :param takes_audio_url: whether ``input.audio_url`` may name a sound track.
    :param voiced: media types whose items may have a ``reference_voice``.
    :param default_duration_s: length of a video if the request has no ``duration``, in seconds; None if the video is
        as long as its source.
    :param longest_from_source_s: for a model without a ``duration`` parameter: its longest video, in seconds.
    :param longest_with_video_s: its longest video if the request has a ``reference_video``, in seconds; None if that
        makes no difference.
    :param longest_together_s: for a media type, the most that all files of it may last together, in seconds.
    :param longest_in_all_s: the most that the input videos and the output may last together, in seconds.
    :param duration_only_cuts: whether the video is never longer than its source, whatever ``duration`` says.
    :param billed_input_s: how much of the input videos, of all together, is billed in addition to the output, at most,
        in seconds. Where nobody says how much is billed, it is all that the model takes: the price must not be higher
        than the estimate.
    :param limits: what a file must be, by media type, ``reference_voice`` or ``audio_url``; nothing for those that the
        documentation says nothing about.
    :param sent_by_default: parameters that are sent if the author gives none, because the gateway's own default is not
        what this package promises.
    :param https_only: whether DashScope takes the media of this model by https:// only; of others, also by http://.
    :param rewritten: media types that need ``prompt_extend``.
    :param legacy: the older request body, if the gateway takes this model's requests in it.
    :param undocumented: media types and fields that Alibaba documents and this gateway does not. They are sent with a
        warning, since the gateway may not pass them on.
    :param documented: whether this gateway documents the model at all.
    :param notes: for a media type that people expect the model to take: why it does not.
    """

    media: MediaRule
    parameters: Mapping[str, Parameter]
    prompt_chars: int = 5000
    chinese_chars: int = 1
    prompt_required: bool = True
    negative_prompt_chars: int = 500
    takes_audio_url: bool = False
    voiced: frozenset[str] = frozenset()
    default_duration_s: float | None = 5
    longest_from_source_s: float | None = None
    longest_with_video_s: float | None = None
    longest_together_s: Mapping[str, float] = field(default_factory=dict)
    longest_in_all_s: float | None = None
    duration_only_cuts: bool = False
    billed_input_s: float = 0
    limits: Mapping[str, MediaLimits] = field(default_factory=dict)
    sent_by_default: Mapping[str, Any] = field(default_factory=dict)
    https_only: bool = False
    rewritten: frozenset[str] = frozenset()
    legacy: LegacyBody | None = None
    undocumented: frozenset[str] = frozenset()
    documented: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def longest_duration_s(self) -> float | None:
        """Longest video that the model makes, in seconds."""
        duration = self.parameters.get("duration")
        return duration.largest if isinstance(duration, Integer) else self.longest_from_source_s

    @property
    def resolutions(self) -> tuple[str, ...]:
        """The resolutions that it offers, lowest first."""
        resolution = self.parameters.get("resolution")
        return resolution.values if isinstance(resolution, Choice) else ()
