"""The catalogue: what each model takes, in one table, with the source of every figure beside it.

Model ids are configuration: an id that is not in the table is sent as given, with a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_wan.api.gateways import GatewayName

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOLUTIONS = ("720P", "1080P")
MAX_SEED = 2_147_483_647
"""Largest ``seed``, both gateways (0 is the smallest)."""


@dataclass(frozen=True, slots=True)
class Integer:
    """A JSON integer between two bounds, both allowed, or one value beside them that has a meaning of its own."""

    minimum: int
    maximum: int
    also: int | None = None

    def allows(self, number: int) -> bool:
        """Whether a number will do."""
        return self.minimum <= number <= self.maximum or number == self.also

    def __str__(self) -> str:
        """The allowed values, for people."""
        beside = "" if self.also is None else f", or {self.also}"
        return f"an integer from {self.minimum} to {self.maximum}{beside}"


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


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text of a form that no list exhausts."""

    form: str
    example: str

    def __str__(self) -> str:
        """The allowed values, for people."""
        return f'like "{self.example}"'


Parameter = Integer | Boolean | Choice | Pattern

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
    """What an image must be; None where nothing is documented.

    :param formats: file formats, as Pillow names them.
    :param shortest_side_px: least width and height, px.
    :param longest_side_px: greatest width and height, px.
    :param widest_ratio: longer side over shorter side, at most.
    :param largest_bytes: size of the file, bytes.
    :param png_alpha: whether a PNG may have an alpha channel.
    """

    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP")
    shortest_side_px: int | None = 240
    longest_side_px: int | None = 8000
    widest_ratio: float | None = 8.0
    largest_bytes: int | None = 20 * MB
    png_alpha: bool = False


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What a sound file must be; None, or no formats, where nothing is documented.

    :param formats: ``WAV``, ``MP3``.
    :param shortest_s: least length, s.
    :param longest_s: greatest length, s.
    :param largest_bytes: size of the file, bytes.
    """

    formats: tuple[str, ...] = ("WAV", "MP3")
    shortest_s: float | None = 2.0
    longest_s: float | None = 30.0
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


@dataclass(frozen=True, slots=True)
class Count:
    """How many media of some types, taken together, a request may have."""

    types: tuple[str, ...]
    least: int
    most: int

    def __str__(self) -> str:
        """The rule, for people."""
        together = " and ".join(self.types)
        if self.least == self.most:
            return f"exactly {self.most} {together}"
        return f"{self.least} to {self.most} {together}{' together' if len(self.types) > 1 else ''}"


@dataclass(frozen=True, slots=True)
class MediaRule:
    """Which ``input.media`` a model takes.

    :param counts: each type it takes, alone or together with others that share a count.
    :param sets: the only combinations allowed; none where the counts say all.
    :param never_together: two groups of types that exclude each other.
    """

    counts: tuple[Count, ...] = ()
    sets: tuple[frozenset[str], ...] = ()
    never_together: tuple[frozenset[str], frozenset[str]] | None = None

    @property
    def types(self) -> frozenset[str]:
        """Every media type that is taken."""
        return frozenset(media_type for count in self.counts for media_type in count.types)


@dataclass(frozen=True, slots=True)
class LegacyBody:
    """DashScope's older body, which wan2.6 is still asked in.

    :param fields: media type → field of ``input``; several of a type go into a list.
    :param lists: the fields of these that are lists.
    :param takes_size: whether ``parameters.size`` (``1280*720``) stands for resolution and ratio.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()
    takes_size: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """What one model, with all its dated snapshots, takes at one gateway.

    :param media: which media it takes.
    :param parameters: the known ``parameters``, by their wire name.
    :param prompt_chars: longest ``prompt``, characters. The gateway cuts a longer one silently.
    :param prompt_required: whether there must be a prompt.
    :param negative_prompt_chars: longest ``negative_prompt``, characters; 0 where there is none.
    :param takes_audio_url: whether ``input.audio_url`` may hold a sound track.
    :param voiced: media types whose items may carry a ``reference_voice``.
    :param default_seconds: length of a video when none is asked for, s; None where it follows its source.
    :param longest_seconds: the most it can be, s.
    :param longest_with_video: the most it can be with a ``reference_video``, s.
    :param billed_input_seconds: the most of its input videos that is billed too, s.
    :param limits: media type, ``reference_voice`` or ``audio_url`` → what its file must be, where that is documented.
    :param legacy: how DashScope takes it, if not as all others.
    :param undocumented: media types and fields that Alibaba documents and this gateway does not: passed on with a
        warning, since nobody knows whether it passes them on.
    :param documented: whether this gateway documents the model at all.
    :param notes: media type → why this model does not take it, where people expect it to.
    """

    media: MediaRule
    parameters: Mapping[str, Parameter]
    prompt_chars: int = 5000
    prompt_required: bool = True
    negative_prompt_chars: int = 500
    takes_audio_url: bool = False
    voiced: frozenset[str] = frozenset()
    default_seconds: float | None = 5
    longest_seconds: float = 15
    longest_with_video: float | None = None
    billed_input_seconds: float = 0
    limits: Mapping[str, MediaLimits] = field(default_factory=dict)
    legacy: LegacyBody | None = None
    undocumented: frozenset[str] = frozenset()
    documented: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)


def _sets(*combinations: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(combination.split()) for combination in combinations)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _each_once(*types: str) -> tuple[Count, ...]:
    return tuple(Count((media_type,), 0, 1) for media_type in types)


# --------------------------------------------------------------------------------------------------------------------
# The table. "Alibaba" is Model Studio's API reference and speaks for DashScope; "APIYI" is docs.apiyi.com.

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")

# On which both gateways agree for all Wan models.
_PARAMETERS: Mapping[str, Parameter] = {
    "resolution": Choice(RESOLUTIONS),
    "duration": Integer(2, 15),
    "prompt_extend": Boolean(),
    "watermark": Boolean(),
    "seed": Integer(0, MAX_SEED),
}
_WITH_RATIO: Mapping[str, Parameter] = {**_PARAMETERS, "ratio": Choice(RATIOS)}


def _without(parameters: Mapping[str, Parameter], *names: str) -> dict[str, Parameter]:
    return {name: rule for name, rule in parameters.items() if name not in names}


_BOTH = Model(media=MediaRule(), parameters={})

# Alibaba, wan2.7-t2v: audio_url of 2 to 30 s and 15 MB. APIYI documents no audio_url.
_T2V_27 = replace(_BOTH, parameters=_WITH_RATIO, takes_audio_url=True, limits={"audio_url": AudioLimits()})
_T2V_27_APIYI = replace(_T2V_27, undocumented=_words("audio_url"))

# Alibaba, wan2.7-i2v: six legal sets; prompt optional. APIYI: prompt required, first_frame and driving_audio alone, and
# no BMP among the formats of the first frame.
_I2V_27 = replace(
    _BOTH,
    media=MediaRule(
        _each_once("first_frame", "last_frame", "driving_audio", "first_clip"),
        sets=_sets(
            "first_frame",
            "first_frame driving_audio",
            "first_frame last_frame",
            "first_frame last_frame driving_audio",
            "first_clip",
            "first_clip last_frame",
        ),
    ),
    parameters=_PARAMETERS,
    prompt_required=False,
    limits={
        "first_frame": ImageLimits(),
        "last_frame": ImageLimits(),
        "driving_audio": AudioLimits(),
        "first_clip": ClipLimits(),
    },
)
_I2V_27_APIYI = replace(
    _I2V_27,
    prompt_required=True,
    limits={**_I2V_27.limits, "first_frame": ImageLimits(formats=("JPEG", "PNG", "WEBP"))},
    undocumented=_words("last_frame first_clip"),
)

# Both, wan2.7-r2v: 1 to 5 references, 2 to 10 s with a video among them; voices of 1 to 10 s (APIYI). Alibaba bills up
# to 5 s of input video, all together; APIYI speaks of output alone. No limits of images and videos were found.
_REFERENCES = Count(("reference_image", "reference_video"), 1, 5)
_R2V_27_APIYI = replace(
    _BOTH,
    media=MediaRule((_REFERENCES, *_each_once("first_frame"))),
    parameters=_WITH_RATIO,
    voiced=_words("reference_image reference_video"),
    longest_with_video=10,
    limits={"reference_voice": AudioLimits(shortest_s=1, longest_s=10, largest_bytes=None)},
)
_R2V_27 = replace(_R2V_27_APIYI, billed_input_seconds=5)

# Alibaba, wan2.7-videoedit: 0 to 4 images, prompt optional, duration 0 (as the source) or 2 to 10, input billed too.
# APIYI: 1 to 5 images, prompt required, output billed alone; duration, ratio and audio_setting not documented.
_EDIT_27 = replace(
    _BOTH,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 0, 4))),
    parameters={**_WITH_RATIO, "duration": Integer(2, 10, also=0), "audio_setting": Choice(("auto", "origin"))},
    prompt_required=False,
    default_seconds=None,
    longest_seconds=10,
    billed_input_seconds=10,
    limits={
        "video": ClipLimits(),
        "reference_image": ImageLimits(shortest_side_px=None, longest_side_px=None, widest_ratio=None, png_alpha=True),
    },
)
_EDIT_27_APIYI = replace(
    _EDIT_27,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 1, 5))),
    prompt_required=True,
    billed_input_seconds=0,
    undocumented=_words("duration ratio audio_setting"),
)

# wan2.6. APIYI: "same endpoint and schema, only the model name changes". Alibaba, its SDK and a field test: the older
# body, prompts up to 1500 characters (stated for t2v). Limits of media are not documented; whether i2v needs a prompt
# and r2v bills its input is not either, and taken from wan2.7. Nobody knows whether APIYI passes on what Alibaba has in
# wan2.6 alone, or a voice.
_SHOTS: Mapping[str, Parameter] = {"shot_type": Choice(("single", "multi"))}
_SIZED: Mapping[str, Parameter] = {**_WITH_RATIO, **_SHOTS, "size": Pattern(r"\d{3,4}\*\d{3,4}", "1280*720")}
_26 = replace(_BOTH, prompt_chars=1500)
_T2V_26 = replace(_26, parameters=_SIZED, takes_audio_url=True, legacy=LegacyBody(takes_size=True))
_T2V_26_APIYI = replace(
    _26,
    parameters={**_WITH_RATIO, **_SHOTS},
    takes_audio_url=True,
    undocumented=_words("audio_url shot_type"),
)
# audio_url is the field of the `dashscope` SDK's legacy call.
_I2V_26 = replace(
    _26,
    media=MediaRule(_each_once("first_frame", "driving_audio"), sets=_sets("first_frame", "first_frame driving_audio")),
    parameters=_PARAMETERS,
    prompt_required=False,
    legacy=LegacyBody({"first_frame": "img_url", "driving_audio": "audio_url"}),
)
_I2V_26_APIYI = replace(_I2V_26, prompt_required=True, legacy=None)
_R2V_26 = replace(
    _26,
    media=MediaRule((_REFERENCES, Count(("reference_video",), 0, 3))),
    parameters={**_SIZED, "duration": Integer(2, 10)},
    longest_seconds=10,
    billed_input_seconds=5,
    legacy=LegacyBody(
        {"reference_image": "reference_urls", "reference_video": "reference_urls"},
        lists=_words("reference_urls"),
        takes_size=True,
    ),
)
_R2V_26_FLASH = replace(_R2V_26, parameters={**_R2V_26.parameters, "audio": Boolean()})
_R2V_26_APIYI = replace(
    _R2V_27_APIYI,
    parameters={**_WITH_RATIO, **_SHOTS},
    prompt_chars=1500,
    undocumented=_words("reference_voice shot_type"),
)
_R2V_26_FLASH_APIYI = replace(
    _R2V_26_APIYI,
    parameters={**_R2V_26_APIYI.parameters, "audio": Boolean()},
    undocumented=_R2V_26_APIYI.undocumented | {"audio"},
)

# HappyHorse. Alibaba: 3 to 15 s, no prompt_extend and no negative_prompt, nine ratios (not listed), images of 400 px
# and more and 20 MB. APIYI: 2 to 15 s, prompt_extend, a ratio whose values are taken to be Wan's. Nobody states the
# longest prompt: Wan's is taken.
_HORSE_IMAGE = ImageLimits(
    formats=("JPEG", "PNG", "WEBP"),
    shortest_side_px=400,
    longest_side_px=None,
    widest_ratio=None,
    png_alpha=True,
)
_HORSE_PARAMETERS = {**_without(_PARAMETERS, "prompt_extend"), "duration": Integer(3, 15)}
_HORSE = replace(
    _BOTH, parameters={**_HORSE_PARAMETERS, "ratio": Pattern(r"\d{1,2}:\d{1,2}", "16:9")}, negative_prompt_chars=0
)
_HORSE_APIYI = replace(_BOTH, parameters=_WITH_RATIO)
_NO_VOICE = {"driving_audio": "HappyHorse image-to-video cannot be driven by audio; use wan2.7-i2v for lip-sync"}


def _horse_i2v(base: Model) -> Model:
    return replace(
        base,
        media=MediaRule(_each_once("first_frame"), sets=_sets("first_frame")),
        parameters=_without(base.parameters, "ratio"),
        limits={"first_frame": _HORSE_IMAGE},
        notes=_NO_VOICE,
    )


def _horse_r2v(base: Model) -> Model:
    return replace(
        base, media=MediaRule((Count(("reference_image",), 1, 9),)), limits={"reference_image": _HORSE_IMAGE}
    )


# Alibaba: a video of 3 to 60 s, 0 to 5 images, output of at most 15 s; resolution, watermark, audio_setting and seed
# alone. APIYI: 1 to 5 images; its list of parameters was not recorded. That Alibaba bills the input is taken from
# wan2.7-videoedit.
_HORSE_EDIT = replace(
    _HORSE,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 0, 5))),
    parameters={**_without(_HORSE_PARAMETERS, "duration"), "audio_setting": Choice(("auto", "origin"))},
    default_seconds=None,
    longest_seconds=15,
    billed_input_seconds=15,
    limits={
        "video": ClipLimits(
            shortest_s=3, longest_s=60, shortest_side_px=None, longest_side_px=None, largest_bytes=None
        ),
        "reference_image": _HORSE_IMAGE,
    },
)
_HORSE_EDIT_APIYI = replace(
    _HORSE_EDIT,
    media=MediaRule((Count(("video",), 1, 1), Count(("reference_image",), 1, 5))),
    billed_input_seconds=0,
    undocumented=_words("audio_setting"),
)

# wan3.0, third parties' copies of Alibaba's figures and APIYI's pages: the media decide on the mode. Nobody says what
# is billed of the input; the whole, input and output, is at most 30 s. Sources disagree about prompt_extend.
_WAN30 = replace(
    _BOTH,
    media=MediaRule(
        (
            *_each_once("first_frame", "last_frame"),
            Count(("reference_image",), 0, 10),
            Count(("reference_video",), 0, 5),
            Count(("reference_audio",), 0, 5),
            Count(("file", "link"), 0, 1),
        ),
        never_together=(
            _words("first_frame last_frame"),
            _words("reference_image reference_video reference_audio file link"),
        ),
    ),
    parameters={
        **_WITH_RATIO,
        "resolution": Choice(("480P", *RESOLUTIONS)),
        "ratio": Choice(("adaptive", *RATIOS)),
        "duration": Integer(2, 30, also=-1),
        "audio": Boolean(),
        "enable_thinking": Boolean(),
    },
    prompt_chars=20_000,
    prompt_required=False,
    negative_prompt_chars=0,
    longest_seconds=30,
    limits={
        "reference_video": ClipLimits(
            shortest_s=None, longest_s=15, shortest_side_px=None, longest_side_px=None, largest_bytes=None
        ),
        "reference_audio": AudioLimits(formats=(), shortest_s=None, longest_s=15, largest_bytes=None),
    },
)

_Row = dict[GatewayName, Model]


def _row(dashscope: Model, apiyi: Model) -> _Row:
    return {GatewayName.DASHSCOPE: dashscope, GatewayName.APIYI: apiyi}


_HORSE_ROWS = {
    "t2v": _row(_HORSE, _HORSE_APIYI),
    "i2v": _row(_horse_i2v(_HORSE), _horse_i2v(_HORSE_APIYI)),
    "r2v": _row(_horse_r2v(_HORSE), _horse_r2v(_HORSE_APIYI)),
}

_CATALOGUE: Mapping[str, _Row] = {
    "wan2.7-t2v": _row(_T2V_27, _T2V_27_APIYI),
    "wan2.7-i2v": _row(_I2V_27, _I2V_27_APIYI),
    "wan2.7-r2v": _row(_R2V_27, _R2V_27_APIYI),
    "wan2.7-videoedit": _row(_EDIT_27, _EDIT_27_APIYI),
    "wan2.6-t2v": _row(_T2V_26, _T2V_26_APIYI),
    "wan2.6-i2v": _row(_I2V_26, _I2V_26_APIYI),
    "wan2.6-i2v-flash": _row(_I2V_26, replace(_I2V_26_APIYI, documented=False)),
    "wan2.6-r2v": _row(_R2V_26, _R2V_26_APIYI),
    "wan2.6-r2v-flash": _row(_R2V_26_FLASH, _R2V_26_FLASH_APIYI),
    **{f"happyhorse-1.1-{mode}": row for mode, row in _HORSE_ROWS.items()},
    **{f"happyhorse-1.0-{mode}": row for mode, row in _HORSE_ROWS.items()},
    "happyhorse-1.0-video-edit": _row(_HORSE_EDIT, _HORSE_EDIT_APIYI),
    "wan3.0-video": _row(_WAN30, _WAN30),
    "wan3.0-video-prime": _row(_WAN30, _WAN30),
}

# DashScope's sizes by resolution and ratio for wan2.6: those of 4:3 and 3:4 at 720P from Vercel's AI SDK, all others
# from Alibaba's wan2.7-t2v reference.
SIZES: Mapping[tuple[str, str], str] = {
    ("720P", "16:9"): "1280*720",
    ("720P", "9:16"): "720*1280",
    ("720P", "1:1"): "960*960",
    ("720P", "4:3"): "1088*832",
    ("720P", "3:4"): "832*1088",
    ("1080P", "16:9"): "1920*1080",
    ("1080P", "9:16"): "1080*1920",
    ("1080P", "1:1"): "1440*1440",
    ("1080P", "4:3"): "1648*1248",
    ("1080P", "3:4"): "1248*1648",
}

_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def find_model(model_id: str, gateway: GatewayName) -> Model | None:
    """The table's row for a model id at a gateway; dated snapshots (``wan2.7-i2v-2026-04-25``) follow their family."""
    return _CATALOGUE.get(family_of(model_id), {}).get(gateway)


def family_of(model_id: str) -> str:
    """A model id without its snapshot date."""
    return _SNAPSHOT_DATE.sub("", model_id)


def known_model_ids() -> tuple[str, ...]:
    """The ids in the table, for messages."""
    return tuple(_CATALOGUE)
