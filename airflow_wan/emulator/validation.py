"""Reading and checking the body of a create: the video that it orders, or why the gateway refuses it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_wan.emulator.catalogue import (
    ALIBABA,
    APIYI,
    CLIP,
    IMAGE,
    LARGEST_SEED,
    SOUND,
    FileRule,
    Legacy,
    Mode,
    ModelSpec,
)
from airflow_wan.emulator.gateway_names import GatewayName


class RefusalKind(StrEnum):
    """Why a create is refused; each gateway has its own status and message for each reason."""

    NOT_ASYNC = "not_async"
    NOT_JSON = "not_json"
    NO_MODEL = "no_model"
    UNKNOWN_MODEL = "unknown_model"
    NO_INPUT = "no_input"
    NO_IMAGE = "no_image"
    WRONG_TYPE = "wrong_type"
    WRONG_VALUE = "wrong_value"


@dataclass(frozen=True)
class Refusal:
    """A create that is answered with an error: it makes no task and costs nothing."""

    kind: RefusalKind
    message: str


@dataclass(frozen=True)
class Failure:
    """Why an accepted task ends as FAILED, with DashScope's code."""

    code: str
    message: str


@dataclass(frozen=True)
class MediaItem:
    """One file to fetch, its role in the video, and what it must be."""

    role: str
    url: str
    rule: FileRule = CLIP


@dataclass(frozen=True)
class Order:
    """The video that an accepted create orders."""

    spec: ModelSpec
    prompt: str
    media: tuple[MediaItem, ...]
    resolution: str
    ratio: str
    size: tuple[int, int] | None
    duration_s: int
    has_sound: bool
    # The create is accepted, but the task will fail for this reason.
    certain_failure: Failure | None

    @property
    def model(self) -> str:
        """The model id."""
        return self.spec.name

    @property
    def mode(self) -> Mode:
        """What the video is made from."""
        return self.spec.mode


_START_ROLES = frozenset({"first_frame", "first_clip"})
_VOICED_ROLES = frozenset({"reference_image", "reference_video"})
IMAGE_ROLES = frozenset({"first_frame", "last_frame", "reference_image"})
VIDEO_ROLES = frozenset({"first_clip", "reference_video", "video"})
AUDIO_ROLES = frozenset({"driving_audio", "reference_audio", "reference_voice"})
_LENGTHENING_ROLES = frozenset({"reference_video", "video"})
_LOOPBACK_URLS = ("http://127.0.0.1", "http://localhost", "http://[::1]")
_VIDEO_SUFFIXES = (".mp4", ".mov")

_SIZE = re.compile(r"(\d{2,4})\*(\d{2,4})", re.ASCII)
_LARGEST_SIDE_PX = 2048
"""Longest side of a `size`; the longest that is documented has 1920 px."""

_DEEPEST = 100
"""Deepest nesting of JSON that is read: far more than any request has, and no work for whoever writes it again."""

# JSON types of the documented fields; other fields are ignored, because a create is said to validate little.
_FIELD_TYPES: tuple[tuple[tuple[str, ...], type], ...] = (
    (("model",), str),
    (("input",), dict),
    (("input", "prompt"), str),
    (("input", "negative_prompt"), str),
    (("input", "media"), list),
    (("input", "img_url"), str),
    (("input", "audio_url"), str),
    (("input", "reference_urls"), list),
    (("input", "reference_video_urls"), list),
    (("input", "first_frame_url"), str),
    (("input", "last_frame_url"), str),
    (("parameters",), dict),
    (("parameters", "resolution"), str),
    (("parameters", "ratio"), str),
    (("parameters", "size"), str),
    (("parameters", "duration"), int),
    (("parameters", "seed"), int),
    (("parameters", "prompt_extend"), bool),
    (("parameters", "watermark"), bool),
    (("parameters", "audio"), bool),
)
_GO_TYPES = {str: "string", int: "int", bool: "bool", dict: "map[string]interface {}", list: "[]dto.Media"}


class _RefusedError(Exception):
    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(kind, message)


def validate_create(raw: bytes, gateway: GatewayName) -> Order | Refusal:
    """Read and check the body of a create as `gateway` does.

    It is mostly undocumented which mistakes the create refuses and which fail the task. Known are: DashScope refuses an
    unknown model at once, and accepts a missing prompt and fails the task (field test); APIYI refuses wrong JSON types
    and a missing image (APIYI docs). The emulator refuses wrong values at the create, where a test notices them first.
    """
    try:
        return _read(raw, gateway)
    except _RefusedError as error:
        return error.refusal


def _read(raw: bytes, gateway: GatewayName) -> Order:
    body = _json_object(raw)
    _check_types(body, gateway)
    spec = _spec(body, gateway)
    inputs: dict[str, Any] = body.get("input") or {}
    if not inputs:
        raise _RefusedError(RefusalKind.NO_INPUT, 'Required parameter "input" missing from request.')
    parameters: dict[str, Any] = body.get("parameters") or {}

    media = tuple(
        MediaItem(item.role, item.url, spec.files.get(item.role) or _usual_rule(item.role))
        for item in _media(inputs, spec)
    )
    failure = _missing_media(media, spec, gateway) or _missing_prompt(inputs, spec)
    failure = (
        failure or _illegal_mix(media, spec, parameters) or _unknown_size(parameters, spec) or _plain_http(media, spec)
    )
    if spec.media.counts and media:
        _check_media(media, spec.media.types, spec)
    _check_values(inputs, parameters, spec, media)
    return Order(
        spec=spec,
        prompt=inputs.get("prompt") or "",
        media=media,
        resolution=spec.sizes.get(parameters.get("size") or "")
        or parameters.get("resolution")
        or spec.default_resolution,
        ratio=parameters.get("ratio") or spec.default_ratio,
        size=_size(parameters, spec),
        duration_s=_duration(parameters, spec),
        has_sound=spec.has_sound and not (spec.can_be_silent and parameters.get("audio") is False),
        certain_failure=failure,
    )


def parse_json(raw: bytes) -> object:
    """Return the value of strict JSON.

    :raises ValueError: if it is not JSON, or contains NaN, a number beyond all floats, half a surrogate pair or too
        deep nesting.
    """
    try:
        value: object = json.loads(raw, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(value, _DEEPEST)
    return value


def _check_depth(value: object, deepest: int) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner and not deepest:
        raise ValueError("nested too deeply")
    for one in inner:
        _check_depth(one, deepest - 1)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = parse_json(raw)
    except ValueError as error:
        raise _RefusedError(RefusalKind.NOT_JSON, str(error)) from None
    if not isinstance(body, dict):
        raise _RefusedError(RefusalKind.NOT_JSON, "the body is not a JSON object")
    return body


def _spec(body: Mapping[str, Any], gateway: GatewayName) -> ModelSpec:
    model = body.get("model")
    if not model:
        raise _RefusedError(RefusalKind.NO_MODEL, 'Required parameter "model" missing from request.')
    spec = (APIYI if gateway is GatewayName.APIYI else ALIBABA).get(model)
    if spec is None:
        raise _RefusedError(RefusalKind.UNKNOWN_MODEL, str(model))
    return spec


def _check_types(body: Mapping[str, Any], gateway: GatewayName) -> None:
    for path, expected in _FIELD_TYPES:
        value = _value_at(body, path)
        if value is None or _is_json_type(value, expected):
            continue
        if gateway is GatewayName.APIYI:
            # APIYI docs give the sentence without the name of the struct; this name is invented.
            message = (
                f"json: cannot unmarshal {_json_type_name(value)} into Go struct field "
                f"WanVideoRequest.{'.'.join(path)} of type {_GO_TYPES[expected]}"
            )
        else:
            message = f"Input should be a valid {expected.__name__}: {'.'.join(path)}"
        raise _RefusedError(RefusalKind.WRONG_TYPE, message)


def _value_at(body: Mapping[str, Any], path: tuple[str, ...]) -> object:
    value: object = body
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _is_json_type(value: object, expected: type) -> bool:
    # In Python, True is an int; in JSON, it is not.
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


def _json_type_name(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return f"number {value}"
    return {str: "string", int: "number", list: "array", dict: "object"}[type(value)]


def _media(inputs: Mapping[str, Any], spec: ModelSpec) -> Iterator[MediaItem]:
    if spec.legacy is Legacy.NONE:
        yield from _media_list(inputs.get("media") or [])
    if spec.legacy is Legacy.IMG_URL and inputs.get("img_url"):
        yield MediaItem("first_frame", inputs["img_url"])
    if spec.legacy is Legacy.REFERENCE_URLS:
        for url in inputs.get("reference_urls") or []:
            is_video = str(url).partition("?")[0].lower().endswith(_VIDEO_SUFFIXES)
            yield MediaItem("reference_video" if is_video else "reference_image", str(url))
        # Alibaba's SDK has this field, too.
        for url in inputs.get("reference_video_urls") or []:
            yield MediaItem("reference_video", str(url))
    if spec.legacy is Legacy.FRAME_URLS:
        for role in ("first_frame", "last_frame"):
            if inputs.get(f"{role}_url"):
                yield MediaItem(role, inputs[f"{role}_url"])
    if spec.takes_audio_url and inputs.get("audio_url"):
        yield MediaItem("driving_audio", inputs["audio_url"])


def _media_list(items: list[Any]) -> Iterator[MediaItem]:
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise _wrong(f"Field required: input.media.{index}.type")
        if not isinstance(item.get("url"), str) or not item["url"]:
            raise _wrong(f"Field required: input.media.{index}.url")
        yield MediaItem(item["type"], item["url"])
        voice = item.get("reference_voice")
        if voice is None:
            continue
        if item["type"] not in _VOICED_ROLES or not isinstance(voice, str):
            raise _wrong(f"reference_voice is not allowed on input.media.{index}")
        yield MediaItem("reference_voice", voice)


def _missing_media(media: tuple[MediaItem, ...], spec: ModelSpec, gateway: GatewayName) -> Failure | None:
    roles = {item.role for item in media}
    if spec.legacy is Legacy.FRAME_URLS and roles != {"first_frame", "last_frame"}:
        return Failure("InvalidParameter", "Field required: input.first_frame_url and input.last_frame_url")
    if spec.mode is Mode.IMAGE and not roles & _START_ROLES:
        if gateway is GatewayName.APIYI:
            raise _RefusedError(RefusalKind.NO_IMAGE, f"图生视频模型 {spec.name} 必须提供图片")
        field = "img_url" if spec.legacy is Legacy.IMG_URL else "media"
        # It is unknown whether DashScope refuses this at the create or fails the task; assumed as for a missing prompt.
        # `input.media` with other roles is refused at the create, by `_check_media`.
        fails_later = not roles or spec.legacy is Legacy.IMG_URL
        return Failure("InvalidParameter", f"Field required: input.{field}") if fails_later else None
    if media or spec.mode in (Mode.TEXT, Mode.ANY):
        return None
    if spec.legacy is Legacy.REFERENCE_URLS:
        # Field test: the message of wan2.6-r2v-flash for a body with `input.media`.
        return Failure("InvalidParameter", "please provide reference_video_urls or reference_urls.")
    return Failure("InvalidParameter", "Field required: input.media")


def _missing_prompt(inputs: Mapping[str, Any], spec: ModelSpec) -> Failure | None:
    if inputs.get("prompt") or not spec.prompt_required:
        return None
    return Failure("InvalidParameter", "Field required: input.prompt")


def _check_media(media: tuple[MediaItem, ...], types: frozenset[str], spec: ModelSpec) -> None:
    counts = Counter(item.role for item in media if item.role != "reference_voice")
    for role in counts:
        if role not in types:
            raise _wrong(f"input.media.type {role!r} is not supported by model {spec.name}")
    for count in spec.media.counts:
        found = sum(counts[role] for role in count.types)
        if not count.least <= found <= count.most:
            names = "/".join(sorted(count.types))
            raise _wrong(f"input.media must hold {count.least} to {count.most} {names}, got {found}")
    if spec.media.legal_sets and frozenset(counts) not in spec.media.legal_sets:
        raise _wrong(f"input.media types {sorted(counts)} cannot be combined for model {spec.name}")


def _usual_rule(role: str) -> FileRule:
    if role in IMAGE_ROLES:
        return IMAGE
    return SOUND if role in AUDIO_ROLES else CLIP


def _illegal_mix(media: tuple[MediaItem, ...], spec: ModelSpec, parameters: Mapping[str, Any]) -> Failure | None:
    """Return why a task of wan3.0 fails that was accepted (Alibaba docs); other models have no such rules."""
    roles = {item.role for item in media}
    left, right = spec.media.never_together
    if left & roles and right & roles:
        return Failure("InvalidParameter", "The two modes are mutually exclusive. Use frames or references, not both.")
    if spec.mode is not Mode.ANY:
        return None
    if "last_frame" in roles and "first_frame" not in roles:
        # It is not among the documented combinations; what happens then is unknown.
        return Failure("InvalidParameter", "last_frame requires first_frame")
    if {"file", "link"} & roles and parameters.get("prompt_extend") is False:
        return Failure("InvalidParameter", "prompt_extend must be true with file or link")
    return None


def _unknown_size(parameters: Mapping[str, Any], spec: ModelSpec) -> Failure | None:
    size = parameters.get("size")
    if not spec.sizes or size is None or size in spec.sizes:
        return None
    return Failure("InvalidParameter", "The size is not match")


def _plain_http(media: tuple[MediaItem, ...], spec: ModelSpec) -> Failure | None:
    """Return why a task fails whose media are not behind https; in a test, loopback replaces the public web."""
    for item in media:
        if spec.https_only and item.url.startswith("http://") and not item.url.startswith(_LOOPBACK_URLS):
            return Failure("InvalidParameter", f"The url of {item.role} must be https")
    return None


def _check_values(
    inputs: Mapping[str, Any], parameters: Mapping[str, Any], spec: ModelSpec, media: tuple[MediaItem, ...]
) -> None:
    if not spec.media.counts and spec.legacy is Legacy.NONE and inputs.get("media"):
        raise _wrong(f"input.media is not supported by model {spec.name}")
    resolution = parameters.get("resolution")
    if resolution is not None and resolution not in spec.resolutions:
        raise _wrong(f"parameters.resolution must be one of {', '.join(spec.resolutions)}, got {resolution!r}")
    ratio = parameters.get("ratio")
    if ratio is not None and spec.ratios and ratio not in spec.ratios:
        raise _wrong(f"parameters.ratio must be one of {', '.join(spec.ratios)}, got {ratio!r}")
    seed = parameters.get("seed")
    if seed is not None and not (0 <= seed <= LARGEST_SEED or seed in spec.special_seeds):
        raise _wrong(f"parameters.seed must be in [0, {LARGEST_SEED}], got {seed}")
    duration = parameters.get("duration")
    longest = spec.longest_with_video_s if _LENGTHENING_ROLES & {item.role for item in media} else spec.longest_s
    if duration is None or duration in spec.special_durations:
        return
    if not spec.shortest_s <= duration <= longest:
        raise _wrong(f"parameters.duration must be in [{spec.shortest_s}, {longest}], got {duration}")


def _size(parameters: Mapping[str, Any], spec: ModelSpec) -> tuple[int, int] | None:
    text = parameters.get("size")
    if text is None or not spec.sizes:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _wrong(f"parameters.size must look like 1280*720, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if max(width, height) > _LARGEST_SIDE_PX:
        raise _wrong(f"parameters.size may have at most {_LARGEST_SIDE_PX} px a side, got {text!r}")
    return width, height


def _duration(parameters: Mapping[str, Any], spec: ModelSpec) -> int:
    duration: int | None = parameters.get("duration")
    if duration is None:
        return spec.default_duration_s
    # -1 lets the model decide; the emulator takes the default.
    return spec.default_duration_s if duration < 0 else duration


def _wrong(message: str) -> _RefusedError:
    return _RefusedError(RefusalKind.WRONG_VALUE, message)
