"""What each model accepts, as each gateway documents it.

There is one row for each model, with Alibaba's figures ("Alibaba docs": the Model Studio API reference). APIYI's rows
are made from them, with the differences that APIYI's pages state ("APIYI docs": docs.apiyi.com). One body can therefore
be right for one gateway and wrong for the other, as it is with the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Mode(StrEnum):
    """What a model makes a video from."""

    TEXT = "t2v"
    IMAGE = "i2v"
    REFERENCE = "r2v"
    EDIT = "videoedit"
    ANY = "any"


class Legacy(StrEnum):
    """The input field of wan2.6 that carries the media; `input.media` came later."""

    NONE = ""
    IMG_URL = "img_url"
    REFERENCE_URLS = "reference_urls"


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
    legacy: Legacy = Legacy.NONE
    takes_size: bool = False
    least_image_side_px: int = 240


# Alibaba docs, wan2.7-t2v.
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")

# Alibaba docs and APIYI docs: seed of every Wan model.
LARGEST_SEED = 2_147_483_647
# Alibaba docs: a longer negative_prompt is refused; a prompt that is too long is only cut.
LONGEST_NEGATIVE_PROMPT = 500


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
# APIYI docs (wan3 pages) and Alibaba's own limits.
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

_T2V_27 = ModelSpec("wan2.7-t2v", Mode.TEXT, _NO_MEDIA, ratios=RATIOS, default_ratio="16:9")
_I2V_27 = ModelSpec("wan2.7-i2v", Mode.IMAGE, _I2V_27_MEDIA, prompt_required=False)
_R2V_27 = ModelSpec(
    "wan2.7-r2v", Mode.REFERENCE, _R2V_27_MEDIA, ratios=RATIOS, default_ratio="16:9", longest_with_video_s=10
)
_EDIT_27 = ModelSpec(
    "wan2.7-videoedit",
    Mode.EDIT,
    # Disagreement: 0-4 images in a mirror of Alibaba's docs, 0-3 at other resellers.
    _edit_media(0, 4),
    prompt_required=False,
    ratios=RATIOS,
    longest_s=10,
    longest_with_video_s=10,
    special_durations=frozenset({0}),
    default_duration_s=0,
)

# Alibaba docs: wan2.6 and older take the legacy body.
_T2V_26 = replace(_T2V_27, name="wan2.6-t2v", takes_size=True)
_I2V_26 = ModelSpec("wan2.6-i2v", Mode.IMAGE, _NO_MEDIA, legacy=Legacy.IMG_URL)
_R2V_26 = ModelSpec(
    "wan2.6-r2v",
    Mode.REFERENCE,
    _R2V_26_MEDIA,
    legacy=Legacy.REFERENCE_URLS,
    takes_size=True,
    ratios=RATIOS,
    default_ratio="16:9",
    longest_s=10,
    longest_with_video_s=10,
)

# Alibaba docs, HappyHorse: 3-15 s, short side of an image at least 400 px.
_HAPPYHORSE_T2V = ModelSpec(
    "happyhorse-1.1-t2v", Mode.TEXT, _NO_MEDIA, ratios=RATIOS, default_ratio="16:9", shortest_s=3
)
_HAPPYHORSE_I2V = ModelSpec(
    "happyhorse-1.1-i2v",
    Mode.IMAGE,
    _ONE_FIRST_FRAME,
    shortest_s=3,
    least_image_side_px=400,
)
_HAPPYHORSE_R2V = ModelSpec(
    "happyhorse-1.1-r2v",
    Mode.REFERENCE,
    MediaRule(counts=(_count(1, 9, "reference_image"),)),
    ratios=RATIOS,
    default_ratio="16:9",
    shortest_s=3,
    least_image_side_px=400,
)
_HAPPYHORSE_EDIT = ModelSpec(
    "happyhorse-1.0-video-edit",
    Mode.EDIT,
    _edit_media(0, 5),
    # It has no `duration` parameter; 0 stands for the duration of the source clip.
    special_durations=frozenset({0}),
    default_duration_s=0,
)

_WAN30 = ModelSpec(
    "wan3.0-video",
    Mode.ANY,
    _WAN30_MEDIA,
    prompt_required=False,
    resolutions=("480P", "720P", "1080P"),
    ratios=("adaptive", *RATIOS),
    default_ratio="adaptive",
    longest_s=30,
    longest_with_video_s=30,
    special_durations=frozenset({-1}),
)


def _named(spec: ModelSpec, *names: str) -> tuple[ModelSpec, ...]:
    return tuple(replace(spec, name=name) for name in names)


_ALIBABA_ROWS = (
    *_named(_T2V_27, "wan2.7-t2v", "wan2.7-t2v-2026-06-12", "wan2.7-t2v-2026-04-25"),
    *_named(_I2V_27, "wan2.7-i2v", "wan2.7-i2v-2026-04-25"),
    *_named(_R2V_27, "wan2.7-r2v", "wan2.7-r2v-2026-06-12"),
    _EDIT_27,
    _T2V_26,
    *_named(_I2V_26, "wan2.6-i2v", "wan2.6-i2v-flash"),
    *_named(_R2V_26, "wan2.6-r2v", "wan2.6-r2v-flash"),
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
    if spec.mode is Mode.ANY:
        return spec
    if spec.mode is Mode.EDIT:
        # Disagreement: at least one image at APIYI, none needed at Alibaba.
        spec = replace(spec, media=_edit_media(1, 5))
    if spec.name.startswith("wan2.6-"):
        spec = replace(spec, media=_APIYI_26_MEDIA[spec.mode], legacy=Legacy.NONE, takes_size=False, longest_s=15)
    return replace(
        spec,
        # Disagreement: prompt optional on wan2.7-i2v and -videoedit at Alibaba, required at APIYI.
        prompt_required=True,
        # Disagreement: APIYI docs say 720P (1080P for r2v of Wan), Alibaba docs 1080P.
        default_resolution="1080P" if spec.name.startswith("wan2") and spec.mode is Mode.REFERENCE else "720P",
        # Disagreement: HappyHorse 2-15 s at APIYI, 3-15 s at Alibaba.
        shortest_s=2,
    )


ALIBABA: dict[str, ModelSpec] = {spec.name: spec for spec in _ALIBABA_ROWS}
APIYI: dict[str, ModelSpec] = {spec.name: _at_apiyi(spec) for spec in _ALIBABA_ROWS}
