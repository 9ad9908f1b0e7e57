"""Makes the JSON body of a create request from a DAG author's arguments, and checks it before it can cost money."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_wan.api.arguments import (
    DEFAULT_RESOLUTION,
    is_unset,
    number_as_text,
    path_as_text,
    read_mapping,
    show,
    show_name,
)
from airflow_wan.api.catalogue import find_model, known_model_ids, nearest_model_id
from airflow_wan.api.gateways import TEXT_FIELDS, GatewayName
from airflow_wan.api.media_items import (
    DURATION_TOLERANCE_S,
    MediaReference,
    length_problems,
    list_references,
    media_problems,
    read_items,
    url_problems,
)
from airflow_wan.api.parameters import convert_by_name, convert_parameters, to_integer
from airflow_wan.api.resolutions import SIZES, resolution_of_size
from airflow_wan.api.rules import Integer, MediaKind, Model
from airflow_wan.exceptions import InvalidVideoRequest

if TYPE_CHECKING:
    from airflow_wan.api.gateways import Gateway

DEFAULT_RATIO = "16:9"
"""Used for a legacy body's ``size`` if the author gives no ratio; the default of both gateways."""

DURATION_OF_AUDIO = "audio"
"""The ``duration`` with which an author asks for a video as long as its sound track; see `as_long_as_its_audio`."""

_TRACKS = ("driving_audio", "audio_url")
"""Roles of the file that is the sound track of a video."""

_NO_VIDEO_FIELDS = frozenset({*TEXT_FIELDS, "audio_url", "img_url", "first_frame_url", "last_frame_url"})
"""Fields of ``input`` that are no video, so that ``extra_body`` may bring them without a length to pay for."""

_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A create request that was checked.

    :param body: the JSON body. It names the media as the author wrote them; see `with_urls`.
    :param warnings: sentences that the author should read, although the request can be sent.
    :param media: every file that the body names.
    :param row: what the model takes at this gateway; None if the catalogue does not know it.
    :param has_hidden_media: whether ``extra_body`` brought files that may be videos, so that nobody can measure them.
    """

    body: dict[str, Any] = field(repr=False)  # its media may have signed URLs
    warnings: tuple[str, ...] = ()
    media: tuple[MediaReference, ...] = field(default=(), repr=False)
    row: Model | None = field(default=None, repr=False)
    has_hidden_media: bool = False

    def with_urls(self, urls: Mapping[str, str]) -> VideoRequest:
        """Return the same request with other URLs for its media.

        :param urls: the URL to send for each URL that the author wrote.
        """
        inputs = {
            name: value if name in TEXT_FIELDS else _replace_urls(value, urls)
            for name, value in self.body["input"].items()
        }
        return replace(self, body={**self.body, "input": inputs})

    @property
    def model(self) -> str:
        """The model id."""
        return str(self.body["model"])

    @property
    def prompt(self) -> str:
        """The prompt; empty if there is none."""
        return str(self.body["input"].get("prompt") or "")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters as they are sent."""
        parameters: Mapping[str, Any] = self.body["parameters"]
        return parameters

    @property
    def seconds(self) -> float | None:
        """Length of the video, in seconds; None if its source or the model decides."""
        given = self.parameters.get("duration")
        if given is None:
            return self.row.default_duration_s if self.row else None
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        return given if is_number and given > 0 else None

    @property
    def longest_seconds(self) -> float | None:
        """Greatest length that the video can have, in seconds; None if that is unknown."""
        return self.seconds or (self.row.longest_duration_s if self.row else None)

    @property
    def resolution(self) -> str | None:
        """``480P``, ``720P`` or ``1080P``; for a ``size``, the nearest of them. None if none is sent."""
        return next(iter(self.billed_resolutions), None)

    @property
    def billed_resolutions(self) -> tuple[str, ...]:
        """Every resolution that the request names: ``extra_body`` may add another one, and either may count.

        It may also bring a ``size`` to a model that takes a ``resolution``, or the other way round. If that is all that
        is named, the model may ignore it, and its resolution is not known.
        """
        given, size = self.parameters.get("resolution"), self.parameters.get("size")
        of_size = resolution_of_size(size) if isinstance(size, str) else None
        of_name = None if given is None else str(given)
        takes_size = self.row is None or (self.row.legacy is not None and self.row.legacy.takes_size)
        named = (of_size, of_name) if takes_size else (of_name, of_size)
        if self.row is not None and named[0] is None:
            return ()
        return tuple(dict.fromkeys(resolution for resolution in named if resolution is not None))

    def expected_seconds(self, lengths: Sequence[float | None]) -> float | None:
        """Return the length that the video must have, in seconds; None if its source or the model decides.

        :param lengths: the lengths of its input videos, in seconds; None for one that was not measured.
        """
        if self.seconds is None or self.row is None or not self.row.duration_only_cuts:
            return self.seconds
        source_s = _sum_if_known(lengths)
        return None if source_s is None else min(self.seconds, source_s)

    def billed_seconds(self, lengths: Sequence[float | None]) -> float | None:
        """Return the most seconds that can be billed, of input and output together; None if nothing bounds them.

        A measured length counts as the next whole second, since a gateway may measure, and round, in another way. Of
        the input, no more counts than the model is billed for at most. A video that was not measured counts as the
        longest that the model takes.

        :param lengths: the lengths of its input videos, in seconds; None for one that was not measured.
        """
        clips = [_whole_seconds(length) for length in lengths]
        clips_s = None if self.has_hidden_media else _sum_if_known(clips)
        billed_input_s = self._billed_input_seconds(clips_s)
        output_s = self.longest_seconds
        if billed_input_s is None or output_s is None:
            return None
        if clips and clips_s is not None and self.row is not None and _follows_source(self.row):
            output_s = min(output_s, clips_s)
        seconds = output_s + billed_input_s
        longest_in_all_s = self.row.longest_in_all_s if self.row else None
        if billed_input_s and longest_in_all_s and self.seconds is None:
            seconds = min(seconds, longest_in_all_s)
        # ``extra_body`` can ask for a part of a second, which may be billed as a whole one, and for several videos.
        return math.ceil(seconds) * max(1, to_integer(self.parameters.get("n")) or 1)

    def _billed_input_seconds(self, clips_s: float | None) -> float | None:
        """Return how much of the input videos can be billed, given how long all of them are, if that is known."""
        has_video = any(reference.kind is MediaKind.VIDEO for reference in self.media)
        if not has_video and not self.has_hidden_media:
            return 0
        if self.row is None:
            return clips_s
        most = self.row.billed_input_s or None
        if clips_s is None or most is None:
            return most
        return min(most, clips_s)

    def length_problems(self, lengths: Sequence[float | None]) -> list[str]:
        """Return a sentence for each way in which the files, or input and output, last too long together.

        :param lengths: the length of each file in `media`, in seconds; None for one that has none, or is not measured.
        """
        if self.row is None:
            return []
        return list(length_problems(self.model, self.row, self.seconds, list(zip(self.media, lengths, strict=True))))

    @property
    def is_driven_by_audio(self) -> bool:
        """Whether the request has a sound track, so that the video must have one too."""
        if self.parameters.get("audio") is False:
            return False
        return any(reference.role in _TRACKS for reference in self.media)

    def as_long_as_its_audio(self, lengths: Sequence[float | None]) -> VideoRequest:
        """Return the request with a number as its duration, if that is ``audio``: whole seconds, so that all is heard.

        :param lengths: the length of each file in `media`, in seconds; None for one that has none, or is not measured.
        :raises InvalidVideoRequest: when the track was not measured, or the model makes no video as long as that.
        """
        if self.parameters.get("duration") != DURATION_OF_AUDIO:
            return self
        track_s = self.track_seconds(lengths)
        if track_s is None:
            why = "duration='audio' needs a sound track that can be measured from here, with preflight=True"
            raise InvalidVideoRequest([f"{why}; give the duration in seconds."])
        seconds = max(math.ceil(track_s - DURATION_TOLERANCE_S), self._shortest_duration_s)
        longest = self.longest_seconds
        if longest is not None and seconds > longest:
            raise InvalidVideoRequest(
                [f"duration='audio': the sound track lasts {track_s:.2f} s; {self.model} makes at most {longest:g} s."]
            )
        return replace(self, body={**self.body, "parameters": {**self.parameters, "duration": seconds}})

    def track_seconds(self, lengths: Sequence[float | None]) -> float | None:
        """Return the length of the sound track, in seconds; None if there is none, or it was not measured.

        :param lengths: as for `as_long_as_its_audio`.
        """
        tracks = [
            length
            for reference, length in zip(self.media, lengths, strict=True)
            if reference.role in _TRACKS and length
        ]
        return max(tracks, default=None)

    def longest_sound_s(self, reference: MediaReference) -> float | None:
        """Return how long a sound of the request may be, in seconds; None if that is not known.

        A track that the video is to be as long as is no longer than any video of the model.

        :param reference: the sound.
        """
        makes_the_length = self.parameters.get("duration") == DURATION_OF_AUDIO and reference.role in _TRACKS
        bounds = (getattr(reference.limits, "longest_s", None), self.longest_seconds if makes_the_length else None)
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def _shortest_duration_s(self) -> int:
        rule = self.row.parameters.get("duration") if self.row else None
        return rule.minimum if isinstance(rule, Integer) else 1

    def __str__(self) -> str:
        """Return the request in a few words without URLs: ``wan2.7-i2v, 720P, 10 s, first_frame + driving_audio``."""
        duration = self.parameters.get("duration")
        words = [
            self.model,
            self.parameters.get("resolution") or self.parameters.get("size"),
            f"{duration} s" if duration is not None else None,
            " + ".join(reference.role for reference in self.media),
        ]
        return ", ".join(str(word) for word in words if word)


def _follows_source(row: Model) -> bool:
    """Return whether a model's video is at most as long as the one it is made from."""
    return row.duration_only_cuts or row.default_duration_s is None


def _whole_seconds(length: float | None) -> float | None:
    return None if length is None else math.ceil(length + DURATION_TOLERANCE_S)


def _sum_if_known(lengths: Sequence[float | None]) -> float | None:
    """Return the sum of lengths; None if one of them is not known, or there are none."""
    known = [length for length in lengths if length is not None]
    return sum(known) if known and len(known) == len(lengths) else None


def _replace_urls(value: object, urls: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return urls.get(value, value)
    if isinstance(value, Mapping):
        return {name: inner if name == "type" else _replace_urls(inner, urls) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replace_urls(inner, urls) for inner in value]
    return value


def build_video_request(
    *,
    gateway: Gateway,
    base_url: str,
    model: str,
    prompt: str | None = None,
    media: Sequence[Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    negative_prompt: str | None = None,
    audio_url: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
    fallback_resolution: str | None = None,
) -> VideoRequest:
    """Build the body of a create request and check it against the catalogue.

    :param gateway: the gateway that will get the request; the two have different rules.
    :param base_url: the gateway's address; if it is on loopback (an emulator), media may be on loopback too.
    :param model: model id. The request of an id that is not in the catalogue passes with a warning, unchecked.
    :param prompt: what should happen in the video.
    :param media: ``input.media``: dicts with ``type`` and ``url``: a public https URL (DashScope also fetches http://
        for most models), a data URI (images), an object store URI or an absolute path.
    :param parameters: ``resolution``, ``duration`` (in seconds, or `DURATION_OF_AUDIO`) and so on. Text that a template
        rendered ("10", "True") becomes the integer or boolean that the API needs.
    :param negative_prompt: what should not be in the video.
    :param audio_url: the sound track of a text-to-video request, given like the URL of a media item.
    :param extra_body: merged into the body unchecked, for fields that this package does not know.
    :param fallback_resolution: sent to a model that is not in the catalogue if the author gives no resolution. A model
        of the catalogue gets 720P, or the lowest resolution that it offers.
    :raises InvalidVideoRequest: when anything is wrong; it holds every problem.
    """
    if is_unset(model) or not isinstance(model, str):
        raise InvalidVideoRequest([f"model must be a model id such as 'wan2.7-i2v', got {show(model)}."])
    row = find_model(model, gateway.name)

    problems: list[str] = []
    prompt, negative_prompt = number_as_text(prompt), number_as_text(negative_prompt)
    audio_url = path_as_text(audio_url)
    items = read_items(media, problems)
    references = list_references(items, audio_url, row)
    http_allowed = gateway.name is GatewayName.DASHSCOPE and not (row and row.https_only)
    problems += url_problems(references, base_url, http_allowed=http_allowed)
    given = read_mapping("parameters", parameters, problems)
    given = {name: value for name, value in given.items() if not is_unset(value)}
    extra = read_mapping("extra_body", extra_body, problems)
    follows_audio = given.get("duration") == DURATION_OF_AUDIO
    if follows_audio:
        del given["duration"]
        problems += _track_problems(model, row, references)
    warnings: list[str] = []

    if row is None:
        converted = convert_by_name(given)
        if fallback_resolution is not None:
            converted.setdefault("resolution", fallback_resolution)
        warnings.append(_unknown_model_warning(model))
    else:
        problems += _prompt_problems(model, row, gateway, prompt, negative_prompt, has_media=bool(items))
        problems += media_problems(model, row, items)
        converted = {**row.sent_by_default, **convert_parameters(model, row.parameters, given, problems)}
        problems += _role_problems(model, row, references, converted)
        problems += _set_resolution(model, row, converted)
        fields = {reference.role for reference in references} | converted.keys()
        warnings += _documentation_warnings(model, row, gateway, fields)
        warnings += _effect_warnings(row, gateway, prompt, negative_prompt, converted)
    if problems:
        raise InvalidVideoRequest(problems)
    if follows_audio:
        converted["duration"] = DURATION_OF_AUDIO

    texts = {"prompt": prompt, "negative_prompt": negative_prompt, "audio_url": audio_url}
    inputs = {name: text for name, text in texts.items() if not is_unset(text)} | _media_fields(items, row)
    body = _merge({"model": model, "input": inputs, "parameters": converted}, extra)
    problems += _json_problems(body)
    if problems:
        raise InvalidVideoRequest(problems)
    if body["model"] != model:
        row = find_model(body["model"], gateway.name)
    request = VideoRequest(
        body=body,
        warnings=tuple(warnings),
        media=tuple(references),
        row=row,
        has_hidden_media=not extra.get("input", {}).keys() <= _NO_VIDEO_FIELDS,
    )
    if problems := request.length_problems([None] * len(references)):
        raise InvalidVideoRequest(problems)
    return request


def _unknown_model_warning(model_id: str) -> str:
    near = nearest_model_id(model_id)
    hint = f"did you mean {near}?" if near else f"it has {', '.join(known_model_ids())}."
    return (
        f"{show(model_id)} is not in this package's catalogue; {hint} The request is sent as given, unchecked, and the "
        "video is only compared with what the request says."
    )


def _prompt_problems(
    model_id: str, row: Model, gateway: Gateway, prompt: object, negative_prompt: object, *, has_media: bool
) -> Iterator[str]:
    if not is_unset(prompt):
        yield from _text_problems("prompt", prompt)
    elif row.prompt_required:
        yield f"prompt is missing; {gateway.title} requires one."
    elif not has_media:
        yield f"prompt is missing; {model_id} needs a prompt, media or both."
    if is_unset(negative_prompt):
        return
    if row.negative_prompt_chars:
        yield from _text_problems("negative_prompt", negative_prompt)
    else:
        yield f"negative_prompt: {gateway.title} documents none for {model_id}."


def _text_problems(name: str, text: object) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"{name} must be text, got {show(text)}."


def _effect_warnings(
    row: Model, gateway: Gateway, prompt: object, negative_prompt: object, parameters: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a warning for what the gateway takes, but does not follow."""
    texts = (
        ("prompt", prompt, row.prompt_chars, row.chinese_chars),
        ("negative_prompt", negative_prompt, row.negative_prompt_chars, 1),
    )
    for name, text, longest, chinese_chars in texts:
        if not isinstance(text, str) or is_unset(text):
            continue
        length = len(text) + (chinese_chars - 1) * len(_CHINESE.findall(text))
        if length > longest:
            counted = " (a Chinese character counts as two)" if chinese_chars > 1 else ""
            yield (
                f"{name} has {length} characters{counted}, {show(text[:40])}…; {gateway.title} uses the first "
                f"{longest} and ignores the rest."
            )
    if parameters.get("shot_type") == "multi" and parameters.get("prompt_extend") is False:
        yield "shot_type has no effect with prompt_extend=False."


def _role_problems(
    model_id: str, row: Model, references: Sequence[MediaReference], parameters: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what is wrong between the files and the model or the parameters."""
    roles = {reference.role for reference in references}
    if "audio_url" in roles and not row.takes_audio_url:
        yield f"audio_url: {model_id} takes none."
    if (rewritten := sorted(row.rewritten & roles)) and parameters.get("prompt_extend") is False:
        yield f"prompt_extend must be true with a {' or '.join(rewritten)}."
    duration, longest = parameters.get("duration"), row.longest_with_video_s
    if longest and "reference_video" in roles and isinstance(duration, int) and duration > longest:
        yield f"duration must be at most {longest:g} with a reference_video, got {duration}."


def _track_problems(model_id: str, row: Model | None, references: Sequence[MediaReference]) -> Iterator[str]:
    """Yield why a video cannot be as long as its sound track."""
    if row is None or not isinstance(row.parameters.get("duration"), Integer):
        yield f"duration: it is not known which durations {model_id} takes; 'audio' needs a model that takes one."
    elif not any(reference.role in _TRACKS for reference in references):
        yield f"duration='audio' needs a sound track ({' or '.join(_TRACKS)})."


def _set_resolution(model_id: str, row: Model, parameters: dict[str, Any]) -> Iterator[str]:
    """Set the resolution, which is always sent; in a legacy body that takes a ``size``, set the size instead.

    Yields a sentence if the model has no size of the resolution and ratio.
    """
    usual = DEFAULT_RESOLUTION if DEFAULT_RESOLUTION in row.resolutions else row.resolutions[0]
    if row.legacy is None or not row.legacy.takes_size:
        parameters.setdefault("resolution", usual)
        return
    resolution = parameters.pop("resolution", usual)
    ratio = parameters.pop("ratio", DEFAULT_RATIO)
    size = parameters.get("size") or SIZES.get((resolution, ratio))
    if size is None:
        yield f"ratio: {model_id} has no size of {ratio} at {resolution}."
    else:
        parameters["size"] = size


def _documentation_warnings(model_id: str, row: Model, gateway: Gateway, fields: AbstractSet[str]) -> Iterator[str]:
    """Yield a warning for what the gateway may not pass on to the model."""
    if not row.documented:
        yield f"{gateway.title} does not document {model_id}; it is unknown whether it offers this model."
    if undocumented := sorted(row.undocumented & fields):
        yield (
            f"{gateway.title} does not document {', '.join(undocumented)} for {model_id}; "
            "it is unknown whether it passes this on to the model."
        )


def _media_fields(items: list[dict[str, Any]], row: Model | None) -> dict[str, Any]:
    """Return the fields of ``input`` for the media: ``media``, or in a legacy body one for each type."""
    if row is None or row.legacy is None:
        return {"media": items} if items else {}
    fields: dict[str, Any] = {}
    for item in items:
        name = row.legacy.fields[item["type"]]
        if name in row.legacy.lists:
            fields.setdefault(name, []).append(item["url"])
        else:
            fields[name] = item["url"]
    return fields


def _merge(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body with every value of ``extra`` added, or put in place of its own; dicts are merged."""
    merged = dict(body)
    for name, value in extra.items():
        own = merged.get(name)
        merged[name] = _merge(own, value) if isinstance(own, Mapping) and isinstance(value, Mapping) else value
    return merged


def _json_problems(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each field that cannot be sent; an author's dict may hold any value."""
    if not isinstance(body["model"], str):
        yield f"model must be a model id, got {show(body['model'])} in extra_body."
    fields: dict[str, tuple[object, object]] = {}
    for section, content in body.items():
        if section not in ("input", "parameters"):
            fields[show_name(section)] = (section, content)
        elif isinstance(content, Mapping):
            fields |= {f"{section}.{show_name(name)}": (name, value) for name, value in content.items()}
        else:
            yield f"{section} must be a dict, got {show(content)}."
    for path, (name, value) in fields.items():
        try:
            json.dumps({name: value}, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            yield f"{path} cannot be sent as JSON ({error}), got {show(value)}."
