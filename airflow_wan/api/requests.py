"""Makes the JSON body of a create request from a DAG author's arguments, and checks it before it can cost money."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_wan.api.arguments import DEFAULT_RESOLUTION, is_unset, read_mapping, show, show_name
from airflow_wan.api.catalogue import find_model, known_model_ids
from airflow_wan.api.gateways import TEXT_FIELDS
from airflow_wan.api.media_items import MediaReference, list_references, media_problems, read_items, url_problems
from airflow_wan.api.parameters import convert_by_name, convert_parameters, to_integer
from airflow_wan.api.resolutions import SIZES, nearest_resolution
from airflow_wan.api.rules import MediaKind, Model
from airflow_wan.exceptions import InvalidVideoRequest

if TYPE_CHECKING:
    from airflow_wan.api.gateways import Gateway

DEFAULT_RATIO = "16:9"
"""Used for a legacy body's ``size`` if the author gives no ratio; the default of both gateways."""


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A create request that was checked.

    :param body: the JSON body. It names the media as the author wrote them; see `with_urls`.
    :param warnings: sentences that the author should read, although the request can be sent.
    :param media: every file that the body names.
    :param row: what the model takes at this gateway; None if the catalogue does not know it.
    """

    body: dict[str, Any] = field(repr=False)  # its media may have signed URLs
    warnings: tuple[str, ...] = ()
    media: tuple[MediaReference, ...] = field(default=(), repr=False)
    row: Model | None = field(default=None, repr=False)

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
        return given if isinstance(given, (int, float)) and given > 0 else None

    @property
    def longest_seconds(self) -> float | None:
        """Greatest length that the video can have, in seconds; None if that is unknown."""
        return self.seconds or (self.row.longest_duration_s if self.row else None)

    @property
    def follows_source(self) -> bool:
        """Whether the video will be as long as the one it is made from."""
        return self.seconds is None and self.row is not None and self.row.default_duration_s is None

    @property
    def billed_input_seconds(self) -> float:
        """How much of the input videos is billed in addition to the output, at most, in seconds."""
        has_video = any(reference.kind is MediaKind.VIDEO for reference in self.media)
        return self.row.billed_input_s if self.row and has_video else 0

    @property
    def resolution(self) -> str:
        """``480P``, ``720P`` or ``1080P``; for a ``size``, the nearest of them."""
        given, size = self.parameters.get("resolution"), self.parameters.get("size")
        if given is None and isinstance(size, str):
            return nearest_resolution(_pixels(size))
        return str(given or DEFAULT_RESOLUTION)

    @property
    def is_driven_by_audio(self) -> bool:
        """Whether the request has a sound track, so that the video must have one too."""
        return any(reference.role in ("driving_audio", "audio_url") for reference in self.media)

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


def _pixels(size: str) -> int:
    """Return the pixels of a ``size`` such as ``1280*720``; 1 for other text, which ``extra_body`` may bring."""
    width, _, height = size.partition("*")
    return max(1, (to_integer(width) or 0) * (to_integer(height) or 0))


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
) -> VideoRequest:
    """Build the body of a create request and check it against the catalogue.

    :param gateway: the gateway that will get the request; the two have different rules.
    :param base_url: the gateway's address; if it is on loopback (an emulator), media may be on loopback too.
    :param model: model id. The request of an id that is not in the catalogue passes with a warning, unchecked.
    :param prompt: what should happen in the video.
    :param media: ``input.media``: dicts with ``type`` and ``url``: a public https URL, a data URI (images), an object
        store URI or an absolute path.
    :param parameters: ``resolution``, ``duration`` (in seconds) and so on. Text that a template rendered ("10",
        "True") becomes the integer or boolean that the API needs.
    :param negative_prompt: what should not be in the video.
    :param audio_url: the sound track of a text-to-video request, given like the URL of a media item.
    :param extra_body: merged into the body unchecked, for fields that this package does not know.
    :raises InvalidVideoRequest: when anything is wrong; it holds every problem.
    """
    if is_unset(model) or not isinstance(model, str):
        raise InvalidVideoRequest([f"model must be a model id such as 'wan2.7-i2v', got {show(model)}."])
    row = find_model(model, gateway.name)

    problems: list[str] = []
    items = read_items(media, problems)
    references = list_references(items, audio_url, row)
    problems += url_problems(references, base_url)
    given = read_mapping("parameters", parameters, problems)
    given = {name: value for name, value in given.items() if not is_unset(value)}
    extra = read_mapping("extra_body", extra_body, problems)

    if row is None:
        converted = convert_by_name(given)
        known = ", ".join(known_model_ids())
        warnings = [f"{model!r} is not in this package's catalogue ({known}): it is sent as given, unchecked."]
    else:
        problems += _prompt_problems(model, row, gateway, prompt, negative_prompt, has_media=bool(items))
        problems += media_problems(model, row, items)
        converted = convert_parameters(model, row.parameters, given, problems)
        problems += _role_problems(model, row, references, converted)
        _set_resolution(row, converted)
        fields = {reference.role for reference in references} | converted.keys()
        warnings = list(_documentation_warnings(model, row, gateway, fields))
    if problems:
        raise InvalidVideoRequest(problems)

    texts = {"prompt": prompt, "negative_prompt": negative_prompt, "audio_url": audio_url}
    inputs = {name: text for name, text in texts.items() if not is_unset(text)} | _media_fields(items, row)
    body = _merge({"model": model, "input": inputs, "parameters": converted}, extra)
    problems += _json_problems(body)
    if problems:
        raise InvalidVideoRequest(problems)
    return VideoRequest(body=body, warnings=tuple(warnings), media=tuple(references), row=row)


def _prompt_problems(
    model_id: str, row: Model, gateway: Gateway, prompt: object, negative_prompt: object, *, has_media: bool
) -> Iterator[str]:
    if not is_unset(prompt):
        yield from _text_problems("prompt", prompt, row.prompt_chars)
    elif row.prompt_required:
        yield f"prompt is missing; {gateway.title} requires one."
    elif not has_media:
        yield f"prompt is missing; {model_id} needs a prompt, media or both."
    if is_unset(negative_prompt):
        return
    if row.negative_prompt_chars:
        yield from _text_problems("negative_prompt", negative_prompt, row.negative_prompt_chars)
    else:
        yield f"negative_prompt: {gateway.title} documents none for {model_id}."


def _text_problems(name: str, text: object, longest: int) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"{name} must be text, got {show(text)}."
    elif len(text) > longest:
        yield (
            f"{name} has {len(text)} characters ({text[:40]!r}…); at most {longest} are allowed, "
            "and the gateway would silently cut the rest."
        )


def _role_problems(
    model_id: str, row: Model, references: Sequence[MediaReference], parameters: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what is wrong between the files and the model or the parameters."""
    roles = {reference.role for reference in references}
    if "audio_url" in roles and not row.takes_audio_url:
        yield f"audio_url: {model_id} takes none."
    duration, longest = parameters.get("duration"), row.longest_with_video_s
    if longest and "reference_video" in roles and isinstance(duration, int) and duration > longest:
        yield f"duration must be at most {longest:g} with a reference_video, got {duration}."


def _set_resolution(row: Model, parameters: dict[str, Any]) -> None:
    """Set the resolution, which is always sent; in a legacy body that takes a ``size``, set the size instead."""
    if row.legacy is None or not row.legacy.takes_size:
        parameters.setdefault("resolution", DEFAULT_RESOLUTION)
        return
    resolution = parameters.pop("resolution", DEFAULT_RESOLUTION)
    ratio = parameters.pop("ratio", DEFAULT_RATIO)
    parameters.setdefault("size", SIZES[resolution, ratio])


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
