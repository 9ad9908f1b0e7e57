"""What each model accepts, as each gateway documents it.

There is one row for each model, with Alibaba's figures ("Alibaba docs": the Model Studio API reference). APIYI's rows
are made from them, with the differences that APIYI's pages state ("APIYI docs": docs.apiyi.com). One body can therefore
be right for one gateway and wrong for the other, as it is with the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MB = 1024 * 1024


class Mode(StrEnum):
    """What a model makes a video from."""

    TEXT = "t2v"
    IMAGE = "i2v"
    REFERENCE = "r2v"
    EDIT = "videoedit"
    ANY = "any"


class Legacy(StrEnum):
    """The input field that carries the media of wan2.6 and older models; `input.media` came later."""

    NONE = ""
    IMG_URL = "img_url"
    REFERENCE_URLS = "reference_urls"
    FRAME_URLS = "first_frame_url"


@dataclass(frozen=True)
class FileRule:
    """What an input file must be: sides in pixels, durations in seconds; None where nothing is documented."""

    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP")
    least_side_px: int | None = None
    most_side_px: int | None = None
    widest: float | None = None
    shortest_s: float = 0
    longest_s: float = float("inf")
    most_bytes: int = 100 * _MB
    slowest_fps: float = 0
    data_uri: bool = True


@dataclass(frozen=True)
class Count:
    """How many media items of these types, taken together, a request may have."""

    types: frozenset[str]
    least: int
    most: int


@dataclass(frozen=True)
class MediaRule:
    """Which media items may be combined; a type without a `Count` is refused."""

    counts: tuple[Count, ...] = ()
    legal_sets: tuple[frozenset[str], ...] = ()
    never_together: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    @property
    def types(self) -> frozenset[str]:
        """Every media type that the model accepts."""
        return frozenset[str]().union(*(count.types for count in self.counts))


@dataclass(frozen=True)
class ModelSpec:
    """One model at one gateway: its media, parameters, limits and defaults."""

    name: str
    mode: Mode
    media: MediaRule
    prompt_required: bool = True
    resolutions: tuple[str, ...] = ("720P", "1080P")
    default_resolution: str = "1080P"
    ratios: tuple[str, ...] = ()
    default_ratio: str = ""
    shortest_s: int = 2
    longest_s: int = 15
    longest_with_video_s: int = 15
    # Durations outside the limits that have a meaning: 0 = as long as the source clip, -1 = the model decides.
    special_durations: frozenset[int] = frozenset()
    default_duration_s: int = 5
    # Most seconds of all clips, of all sounds, and of clips and output; and most seconds of the input that are billed.
    clips_together_s: float = float("inf")
    sounds_together_s: float = float("inf")
    in_all_s: float = float("inf")
    billed_input_s: float = float("inf")
    legacy: Legacy = Legacy.NONE
    sizes: Mapping[str, str] = field(default_factory=dict)
    takes_audio_url: bool = False
    special_seeds: frozenset[int] = frozenset()
    https_only: bool = False
    files: Mapping[str, FileRule] = field(default_factory=dict)
    # Videos of wan2.2 are silent; models with a parameter `audio` can be told to be.
    has_sound: bool = True
    can_be_silent: bool = False
    tells_fps: bool = False


# Alibaba docs, wan2.7-t2v.
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")

# Alibaba docs, wan2.6: the `size` values, and the resolution as which `usage` reports each. 480P: wan2.5.
_SIZES_720P = dict.fromkeys(("1280*720", "720*1280", "960*960", "1088*832", "832*1088"), "720P")
_SIZES_1080P = dict.fromkeys(("1920*1080", "1080*1920", "1440*1440", "1632*1248", "1248*1632"), "1080P")
_SIZES_480P = dict.fromkeys(("832*480", "480*832", "624*624"), "480P")

# Alibaba docs and APIYI docs: seed of every Wan model. A prompt, or a negative prompt, that is too long is only cut.
LARGEST_SEED = 2_147_483_647

# Alibaba docs, wan2.7-i2v. Files of models whose limits are not documented are held to these, too.
IMAGE = FileRule(least_side_px=240, most_side_px=8000, widest=8, most_bytes=20 * _MB)
SOUND = FileRule(most_bytes=15 * _MB)
CLIP = FileRule()
_SOUND_27 = replace(SOUND, shortest_s=2, longest_s=30)
_CLIP_27 = replace(CLIP, shortest_s=2, longest_s=10, least_side_px=240, most_side_px=4096)
# Alibaba docs, wan2.6: sound of 3-30 s.
_SOUND_26 = replace(SOUND, shortest_s=3, longest_s=30)
# Alibaba docs, wan2.5 and wan2.2 (2025).
_IMAGE_25 = FileRule(least_side_px=360, most_side_px=2000, most_bytes=10 * _MB)


def _count(least: int, most: int, *types: str) -> Count:
    return Count(frozenset(types), least, most)


_NO_MEDIA = MediaRule()

# Alibaba docs, wan2.7-i2v: six legal sets, each type at most once.
_I2V_27_MEDIA = MediaRule(
    counts=tuple(_count(0, 1, kind) for kind in ("first_frame", "last_frame", "driving_audio", "first_clip")),
    legal_sets=(
        frozenset({"first_frame"}),
        frozenset({"first_frame", "driving_audio"}),
        frozenset({"first_frame", "last_frame"}),
        frozenset({"first_frame", "last_frame", "driving_audio"}),
        frozenset({"first_clip"}),
        frozenset({"first_clip", "last_frame"}),
    ),
)
_ONE_FIRST_FRAME = MediaRule(
    counts=(_count(1, 1, "first_frame"),),
    legal_sets=(frozenset({"first_frame"}),),
)
# Alibaba docs, wan2.7-r2v.
_R2V_27_MEDIA = MediaRule(
    counts=(_count(1, 5, "reference_image", "reference_video"), _count(0, 1, "first_frame")),
)


def _edit_media(least_images: int, most_images: int) -> MediaRule:
    return MediaRule(counts=(_count(1, 1, "video"), _count(least_images, most_images, "reference_image")))


# Alibaba docs, wan2.6-r2v: up to 5 URLs in all, of which up to 3 are videos.
_R2V_26_MEDIA = MediaRule(
    counts=(_count(1, 5, "reference_image", "reference_video"), _count(0, 3, "reference_video")),
)
_REFERENCES_30 = frozenset({"reference_image", "reference_video", "reference_audio", "file", "link"})
# Alibaba docs, wan3.0: how many of each; the modes exclude each other. An illegal mix fails the task, not the create.
_WAN30_MEDIA = MediaRule(
    counts=(
        _count(0, 1, "first_frame"),
        _count(0, 1, "last_frame"),
        _count(0, 10, "reference_image"),
        _count(0, 5, "reference_video"),
        _count(0, 5, "reference_audio"),
        _count(0, 1, "file", "link"),
    ),
    never_together=(frozenset({"first_frame", "last_frame"}), _REFERENCES_30),
)

_T2V_27 = ModelSpec(
    "wan2.7-t2v",
    Mode.TEXT,
    _NO_MEDIA,
    ratios=RATIOS,
    default_ratio="16:9",
    takes_audio_url=True,
    files={"driving_audio": _SOUND_27},
)
_I2V_27 = ModelSpec(
    "wan2.7-i2v",
    Mode.IMAGE,
    _I2V_27_MEDIA,
    prompt_required=False,
    files={"driving_audio": _SOUND_27, "first_clip": _CLIP_27},
)
# Alibaba docs, wan2.7-r2v: clips of 1-30 s; their sum is billed, at most 5 s. APIYI docs: voices of 1-10 s.
_R2V_27 = ModelSpec(
    "wan2.7-r2v",
    Mode.REFERENCE,
    _R2V_27_MEDIA,
    ratios=RATIOS,
    default_ratio="16:9",
    longest_with_video_s=10,
    billed_input_s=5,
    files={
        "reference_video": replace(_CLIP_27, shortest_s=1, longest_s=30, widest=8),
        "reference_voice": replace(SOUND, shortest_s=1, longest_s=10),
    },
)
_EDIT_27 = ModelSpec(
    "wan2.7-videoedit",
    Mode.EDIT,
    # An older copy of Alibaba's page says 0-4 images.
    _edit_media(0, 3),
    prompt_required=False,
    ratios=RATIOS,
    longest_s=10,
    longest_with_video_s=10,
    special_durations=frozenset({0}),
    default_duration_s=0,
    # URL or oss only.
    files={"video": _CLIP_27, "reference_image": replace(IMAGE, data_uri=False)},
)

# Alibaba docs: wan2.6 and older take the legacy body.
_T2V_26 = replace(
    _T2V_27,
    name="wan2.6-t2v",
    sizes=_SIZES_720P | _SIZES_1080P,
    files={"driving_audio": _SOUND_26},
)
_I2V_26 = ModelSpec(
    "wan2.6-i2v",
    Mode.IMAGE,
    _NO_MEDIA,
    legacy=Legacy.IMG_URL,
    takes_audio_url=True,
    files={"driving_audio": _SOUND_26},
)
_R2V_26 = ModelSpec(
    "wan2.6-r2v",
    Mode.REFERENCE,
    _R2V_26_MEDIA,
    legacy=Legacy.REFERENCE_URLS,
    sizes=_T2V_26.sizes,
    ratios=RATIOS,
    default_ratio="16:9",
    longest_s=10,
    longest_with_video_s=10,
    # As for wan2.7-r2v; not documented for wan2.6.
    billed_input_s=5,
)
# Alibaba docs of 2025: wan2.5 makes 5 or 10 s with sound, wan2.2 makes 5 s without.
_T2V_25 = replace(
    _T2V_26,
    name="wan2.5-t2v-preview",
    sizes={**_SIZES_480P, **_T2V_26.sizes},
    shortest_s=5,
    longest_s=5,
    special_durations=frozenset({10}),
    can_be_silent=True,
)
_I2V_25 = replace(
    _I2V_26,
    name="wan2.5-i2v-preview",
    prompt_required=False,
    resolutions=("480P", "720P", "1080P"),
    shortest_s=5,
    longest_s=5,
    special_durations=frozenset({10}),
    can_be_silent=True,
    files={"driving_audio": _SOUND_26, "first_frame": _IMAGE_25},
)
_T2V_22 = replace(
    _T2V_25,
    name="wan2.2-t2v-plus",
    sizes=_SIZES_480P | _SIZES_1080P,
    special_durations=frozenset(),
    takes_audio_url=False,
    has_sound=False,
)
_I2V_22 = replace(
    _I2V_25,
    name="wan2.2-i2v-flash",
    default_resolution="720P",
    special_durations=frozenset(),
    takes_audio_url=False,
    has_sound=False,
)
_KF2V_22 = replace(
    _I2V_22,
    name="wan2.2-kf2v-flash",
    legacy=Legacy.FRAME_URLS,
    files={"first_frame": _IMAGE_25, "last_frame": _IMAGE_25},
)

# Alibaba docs, HappyHorse: 3-15 s, nine ratios. A first frame, and an image to edit with, has at least 300 px a side
# and a ratio of at most 2.5; an image of r2v has at least 400 px.
_HAPPYHORSE_RESOLUTIONS = ("480P", "720P", "1080P")
_HAPPYHORSE_RATIOS = (*RATIOS, "21:9", "9:21", "4:5", "5:4")
_HAPPYHORSE_IMAGE = FileRule(formats=("JPEG", "PNG", "WEBP"), least_side_px=300, widest=2.5, most_bytes=20 * _MB)
_HAPPYHORSE_T2V = ModelSpec(
    "happyhorse-1.1-t2v",
    Mode.TEXT,
    _NO_MEDIA,
    resolutions=_HAPPYHORSE_RESOLUTIONS,
    ratios=_HAPPYHORSE_RATIOS,
    default_ratio="16:9",
    shortest_s=3,
)
_HAPPYHORSE_I2V = ModelSpec(
    "happyhorse-1.1-i2v",
    Mode.IMAGE,
    _ONE_FIRST_FRAME,
    prompt_required=False,
    resolutions=_HAPPYHORSE_RESOLUTIONS,
    shortest_s=3,
    files={"first_frame": _HAPPYHORSE_IMAGE},
)
_HAPPYHORSE_R2V = replace(
    _HAPPYHORSE_T2V,
    name="happyhorse-1.1-r2v",
    mode=Mode.REFERENCE,
    media=MediaRule(counts=(_count(1, 9, "reference_image"),)),
    files={"reference_image": replace(_HAPPYHORSE_IMAGE, least_side_px=400, widest=None)},
)
_HAPPYHORSE_EDIT = ModelSpec(
    "happyhorse-1.0-video-edit",
    Mode.EDIT,
    _edit_media(0, 5),
    resolutions=_HAPPYHORSE_RESOLUTIONS,
    shortest_s=3,
    # It has no `duration` parameter; 0 stands for the duration of the source clip, of which at most 15 s come out.
    special_durations=frozenset({0}),
    default_duration_s=0,
    files={
        "video": FileRule(
            least_side_px=360, most_side_px=4096, widest=2.5, shortest_s=3, longest_s=60, slowest_fps=8.01
        ),
        "reference_image": _HAPPYHORSE_IMAGE,
    },
)

# Alibaba docs, wan3.0 (October 2026); the whole input is billed (another gateway's page, price tables).
_WAN30 = ModelSpec(
    "wan3.0-video",
    Mode.ANY,
    _WAN30_MEDIA,
    prompt_required=False,
    resolutions=("480P", "720P", "1080P"),
    ratios=("adaptive", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"),
    default_ratio="adaptive",
    longest_s=30,
    longest_with_video_s=30,
    special_durations=frozenset({-1}),
    clips_together_s=15,
    sounds_together_s=15,
    in_all_s=30,
    special_seeds=frozenset({-1}),
    https_only=True,
    files={
        "reference_video": replace(_CLIP_27, shortest_s=1, longest_s=15, widest=8, slowest_fps=16),
        "reference_audio": replace(SOUND, shortest_s=1, longest_s=15),
    },
    can_be_silent=True,
    tells_fps=True,
)


def _named(spec: ModelSpec, *names: str) -> tuple[ModelSpec, ...]:
    return tuple(replace(spec, name=name) for name in names)


_ALIBABA_ROWS = (
    *_named(_T2V_27, "wan2.7-t2v", "wan2.7-t2v-2026-06-12", "wan2.7-t2v-2026-04-25"),
    *_named(_I2V_27, "wan2.7-i2v", "wan2.7-i2v-2026-04-25"),
    *_named(_R2V_27, "wan2.7-r2v", "wan2.7-r2v-2026-06-12"),
    _EDIT_27,
    *_named(_T2V_26, "wan2.6-t2v", "wan2.6-t2v-us"),
    *_named(_I2V_26, "wan2.6-i2v", "wan2.6-i2v-us"),
    replace(_I2V_26, name="wan2.6-i2v-flash", can_be_silent=True),
    _R2V_26,
    replace(_R2V_26, name="wan2.6-r2v-flash", can_be_silent=True),
    _T2V_25,
    _I2V_25,
    _T2V_22,
    _I2V_22,
    replace(_I2V_22, name="wan2.2-i2v-plus", resolutions=("480P", "1080P"), default_resolution="1080P"),
    _KF2V_22,
    *_named(_HAPPYHORSE_T2V, "happyhorse-1.1-t2v", "happyhorse-1.0-t2v"),
    *_named(_HAPPYHORSE_I2V, "happyhorse-1.1-i2v", "happyhorse-1.0-i2v"),
    *_named(_HAPPYHORSE_R2V, "happyhorse-1.1-r2v", "happyhorse-1.0-r2v"),
    _HAPPYHORSE_EDIT,
    *_named(_WAN30, "wan3.0-video", "wan3.0-video-prime"),
)

# APIYI docs (historical versions): wan2.6 takes wan2.7's body, only the model name changes. Alibaba docs, its SDK and
# a field test of wan2.6-r2v-flash disagree; the emulator does for each gateway what that gateway documents.
_APIYI_26_MEDIA = {Mode.TEXT: _NO_MEDIA, Mode.IMAGE: _I2V_27_MEDIA, Mode.REFERENCE: _R2V_27_MEDIA}


def _at_apiyi(spec: ModelSpec) -> ModelSpec:
    """Return Alibaba's row with the differences that APIYI's pages state."""
    # APIYI documents nothing older than wan2.6, nor the models of Alibaba's American region; they are as at Alibaba.
    is_undocumented = spec.name.startswith(("wan2.5-", "wan2.2-")) or spec.name.endswith("-us")
    if spec.mode is Mode.ANY or is_undocumented:
        return spec
    if spec.mode is Mode.EDIT:
        # Disagreement: at least one image at APIYI, none needed at Alibaba. Its script sends images as data URIs.
        files = {role: replace(rule, data_uri=True) for role, rule in spec.files.items()}
        spec = replace(spec, media=_edit_media(1, 5), files=files)
    if spec.name.startswith("wan2.6-"):
        spec = replace(spec, media=_APIYI_26_MEDIA[spec.mode], legacy=Legacy.NONE, sizes={}, longest_s=15)
    if spec.name.startswith("happyhorse-"):
        # Disagreement: 2-15 s and the ratios of Wan at APIYI.
        spec = replace(spec, resolutions=("720P", "1080P"), ratios=RATIOS if spec.ratios else (), shortest_s=2)
    return replace(
        spec,
        # Disagreement: prompt optional on wan2.7-i2v and -videoedit at Alibaba, required at APIYI.
        prompt_required=True,
        # Disagreement: APIYI docs say 720P (1080P for r2v of Wan), Alibaba docs 1080P.
        default_resolution="1080P" if spec.name.startswith("wan2") and spec.mode is Mode.REFERENCE else "720P",
    )


ALIBABA: dict[str, ModelSpec] = {spec.name: spec for spec in _ALIBABA_ROWS}
APIYI: dict[str, ModelSpec] = {spec.name: _at_apiyi(spec) for spec in _ALIBABA_ROWS}
