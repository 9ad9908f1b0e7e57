"""A DAG author's arguments → the JSON body of a create request, checked before a cent is spent."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from airflow_wan.addresses import is_loopback, is_private
from airflow_wan.api.errors import InvalidVideoRequest, redact
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway
from airflow_wan.api.models import (
    IMAGE_TYPES,
    MEDIA_KINDS,
    Boolean,
    Choice,
    Integer,
    MediaKind,
    MediaLimits,
    Model,
    Parameter,
    find_model,
    known_model_ids,
)

DEFAULT_RESOLUTION = "720P"
"""Sent when the author names none: the gateways' own defaults differ, and 1080P costs more."""

APIYI_DOCUMENTED_I2V_MEDIA = frozenset({"first_frame", "driving_audio"})


@dataclass(frozen=True, slots=True)
class MediaReference:
    """One file that a request names.

    :param role: its media type, or ``reference_voice`` or ``audio_url``.
    :param url: where it is, as the author wrote it: https, data URI, object store URI or absolute path.
    :param limits: what the file must be, where the gateway says.
    """

    role: str
    url: str
    limits: MediaLimits | None = None

    @property
    def kind(self) -> MediaKind:
        """What the file is made of."""
        return MEDIA_KINDS.get(self.role, MediaKind.OTHER)


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A create request, checked.

    :param body: the JSON body. Its media are as the author wrote them; `with_urls` makes them what the gateway takes.
    :param warnings: sentences the author should read, although they stop nothing.
    :param media: every file that the body names.
    """

    body: dict[str, Any]
    warnings: tuple[str, ...] = ()
    media: tuple[MediaReference, ...] = ()

    def with_urls(self, urls: Mapping[str, str]) -> VideoRequest:
        """The same request with its media elsewhere: URL as the author wrote it → URL on the wire."""
        inputs = {
            name: value if name in ("prompt", "negative_prompt") else _elsewhere(value, urls)
            for name, value in self.body["input"].items()
        }
        return replace(self, body={**self.body, "input": inputs})

    @property
    def model(self) -> str:
        """The model id."""
        return str(self.body["model"])

    @property
    def prompt(self) -> str:
        """The prompt, empty if there is none."""
        return str(self.body["input"].get("prompt") or "")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The wire parameters, typed."""
        parameters: Mapping[str, Any] = self.body["parameters"]
        return parameters

    def __str__(self) -> str:
        """What is ordered, in a few words without URLs: ``wan2.7-i2v, 720P, 10 s, first_frame + driving_audio``."""
        items = self.body["input"].get("media")
        # What came by extra_body may be of any shape.
        listed = items if isinstance(items, list) else []
        media = [str(item.get("type")) for item in listed if isinstance(item, Mapping)]
        duration = self.parameters.get("duration")
        words = [
            self.model,
            self.parameters.get("resolution"),
            f"{duration} s" if duration is not None else None,
            " + ".join(media),
        ]
        return ", ".join(str(word) for word in words if word)


def _elsewhere(value: object, urls: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return urls.get(value, value)
    if isinstance(value, Mapping):
        return {name: inner if name == "type" else _elsewhere(inner, urls) for name, inner in value.items()}
    if isinstance(value, list):
        return [_elsewhere(inner, urls) for inner in value]
    return value


def is_unset(value: object) -> bool:
    """Whether an argument counts as not given: None, or what a template renders for nothing ("" and "None")."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def build_video_request(
    *,
    gateway: Gateway,
    base_url: str,
    model: str,
    prompt: str | None = None,
    media: Sequence[Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    negative_prompt: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> VideoRequest:
    """Build the body of a create request and check it against the catalogue.

    :param gateway: the gateway it will go to; the two differ in what they require.
    :param base_url: where that gateway is reached; on loopback (an emulator) media may be plain http on loopback.
    :param model: model id. An id that is not in the catalogue passes with a warning, its fields as given.
    :param prompt: what should happen in the video.
    :param media: ``input.media``: dicts with ``type`` and ``url``.
    :param parameters: ``resolution``, ``duration`` (s) and so on. Text that a template rendered ("10", "True") becomes
        the integer or boolean that the wire needs.
    :param negative_prompt: what should not be seen.
    :param extra_body: merged into the body unchecked: for fields this package does not know.
    :raises InvalidVideoRequest: with every problem at once.
    """
    problems: list[str] = []
    warnings: list[str] = []
    if is_unset(model) or not isinstance(model, str):
        raise InvalidVideoRequest([f"model: {_shown(model)} is not a model id, such as {known_model_ids()[0]!r}."])

    known = find_model(model)
    items = _media_items(media, problems)
    _check_urls(items, known, base_url, problems)
    given = _mapping("parameters", parameters, problems)
    wire = {name: value for name, value in given.items() if not is_unset(value)}
    if known is None:
        warnings.append(
            f"Model {model!r} is not in this package's catalogue ({', '.join(known_model_ids())}): "
            "its media and parameters are sent as given, unchecked."
        )
        wire = {name: _from_text(name, value) for name, value in wire.items()}
    else:
        _check_prompts(prompt, negative_prompt, known, gateway, problems)
        _check_media(model, known, items, problems)
        wire = _checked_parameters(model, known, wire, problems)
        wire.setdefault("resolution", DEFAULT_RESOLUTION)
        undocumented = {str(item.get("type")) for item in items} - APIYI_DOCUMENTED_I2V_MEDIA
        if gateway is APIYI and undocumented and not problems:
            warnings.append(
                f"APIYI does not document {', '.join(sorted(undocumented))} for {model}; "
                "whether it passes it on to the model is unknown."
            )
    extra = _mapping("extra_body", extra_body, problems)
    if problems:
        raise InvalidVideoRequest(problems)

    inputs: dict[str, Any] = {}
    if not is_unset(prompt):
        inputs["prompt"] = prompt
    if not is_unset(negative_prompt):
        inputs["negative_prompt"] = negative_prompt
    if known is not None and known.legacy_media is not None and gateway is DASHSCOPE:
        inputs |= {known.legacy_media[str(item["type"])]: item["url"] for item in items}
    elif items:
        inputs["media"] = items
    body: dict[str, Any] = {"model": model, "input": inputs, "parameters": wire}
    body = _merged(body, extra)
    _check_json(body, problems)
    if problems:
        raise InvalidVideoRequest(problems)
    return VideoRequest(body=body, warnings=tuple(warnings), media=tuple(_media_references(items, known)))


def _media_references(items: list[dict[str, Any]], model: Model | None) -> Iterator[MediaReference]:
    limits = model.limits if model else {}
    for item in items:
        yield MediaReference(item["type"], item["url"], limits.get(item["type"]))


def _mapping(name: str, value: object, problems: list[str]) -> Mapping[str, Any]:
    """An argument that is a dict or not given; a template may have made text of it."""
    if is_unset(value):
        return {}
    if not isinstance(value, Mapping):
        problems.append(f"{name}: {_shown(value)} is not a dict (a template that stands for one renders text).")
        return {}
    return value


def _check_json(body: Mapping[str, Any], problems: list[str]) -> None:
    """Whether every part of the body can be sent: what an author's dicts hold may be anything."""
    fields: dict[str, tuple[object, object]] = {}
    for section, content in body.items():
        if section not in ("input", "parameters"):
            fields[str(section)] = (section, content)
        elif isinstance(content, Mapping):
            fields |= {f"{section}.{name}": (name, value) for name, value in content.items()}
        else:
            problems.append(f"{section}: {_shown(content)} is not a dict.")
    for field, (name, value) in fields.items():
        try:
            json.dumps({name: value}, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(f"{field}: {_shown(value)} cannot be sent as JSON ({error}).")


def _check_prompts(
    prompt: object, negative_prompt: object, model: Model, gateway: Gateway, problems: list[str]
) -> None:
    if is_unset(prompt):
        if gateway.prompt_required:
            problems.append(f"prompt: missing; {gateway.title} requires one.")
    else:
        _check_text("prompt", prompt, model.prompt_chars, problems)
    if not is_unset(negative_prompt):
        _check_text("negative_prompt", negative_prompt, model.negative_prompt_chars, problems)


def _check_text(name: str, text: object, longest: int, problems: list[str]) -> None:
    if not isinstance(text, str):
        problems.append(f"{name}: {_shown(text)} is not text.")
    elif len(text) > longest:
        problems.append(
            f"{name}: {len(text)} characters ({text[:40]!r}…); at most {longest} are allowed, "
            "and the gateway would cut the rest silently."
        )


def _media_items(media: Sequence[Mapping[str, Any]] | None, problems: list[str]) -> list[dict[str, Any]]:
    """The media as plain dicts, each with a type and a URL; what is neither is a problem."""
    items: list[dict[str, Any]] = []
    if media is None:
        return items
    if isinstance(media, (str, Mapping)) or not isinstance(media, Sequence):
        problems.append(
            f"media: {_shown(media)} is not a list of items like {{'type': 'first_frame', 'url': 'https://…'}}."
        )
        return items
    for index, item in enumerate(media):
        if not isinstance(item, Mapping) or is_unset(item.get("type")) or is_unset(item.get("url")):
            problems.append(f"media[{index}]: {_shown(item)} needs both a 'type' and a 'url'.")
        elif not isinstance(item["type"], str):
            problems.append(f"media[{index}]: type {_shown(item['type'])} is not text.")
        else:
            items.append(dict(item))
    return items


def _check_media(model_id: str, model: Model, items: list[dict[str, Any]], problems: list[str]) -> None:
    before = len(problems)
    counts = Counter(str(item["type"]) for item in items)
    for media_type, count in counts.items():
        if media_type not in model.media_types:
            note = (model.notes or {}).get(media_type)
            problems.append(
                f"media: type {media_type!r} is not one of {', '.join(sorted(model.media_types))}, "
                f"which {model_id} takes{f' ({note})' if note else ''}."
            )
        elif count > 1:
            problems.append(f"media: {media_type} is given {count} times; at most one is allowed.")
    if len(problems) == before and frozenset(counts) not in model.media_sets:
        given = " + ".join(counts) or "nothing"
        legal = "; ".join(" + ".join(sorted(combination, key=_media_order)) for combination in model.media_sets)
        problems.append(f"media: {given} is no legal combination for {model_id}; it takes one of: {legal}.")


def _media_order(media_type: str) -> tuple[bool, str]:
    """First frames and clips come first in a sentence."""
    return (not media_type.startswith("first"), media_type)


def _check_urls(items: list[dict[str, Any]], model: Model | None, base_url: str, problems: list[str]) -> None:
    gateway_on_loopback = is_loopback(urlsplit(base_url).hostname)
    for item in items:
        for name, value in item.items():
            # The media of the known models hold URLs only; those of others may hold anything beside their URL.
            if name == "type" or (model is None and name != "url"):
                continue
            problem = _url_problem(value, is_image=item["type"] in IMAGE_TYPES, loopback_allowed=gateway_on_loopback)
            if problem:
                field = str(item["type"]) if name == "url" else f"{item['type']}.{name}"
                problems.append(f"{field}: {_shown(value)} {problem}")


def _url_problem(url: object, *, is_image: bool, loopback_allowed: bool) -> str | None:
    """Why a gateway on the internet could not fetch this, or None if it could."""
    if not isinstance(url, str):
        return "is not a URL."
    if url.startswith("data:"):
        if is_image and url.startswith("data:image/") and ";base64," in url:
            return None
        return "is not allowed: only images may be base64 data URIs (data:image/png;base64,…)."
    if not url.isascii() or any(character.isspace() for character in url):
        return "holds characters that must be percent-encoded in a URL (the gateways refuse them)."
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "is not a valid URL."
    if loopback_allowed and parts.scheme == "http" and is_loopback(host):
        return None
    if parts.scheme != "https" or not host:
        return "is not a public https:// URL, which the gateway must be able to fetch with a plain GET."
    if not loopback_allowed and is_private(host):
        return "is not reachable from the internet; the gateway needs a public https:// URL."
    return None


def _checked_parameters(model_id: str, model: Model, given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    for name, value in given.items():
        rule = model.parameters.get(name)
        if rule is None:
            near = difflib.get_close_matches(str(name), model.parameters, n=1, cutoff=0.8)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(model.parameters)}."
            problems.append(f"parameters: {name}={_shown(value)} is not known for {model_id}; {hint}")
            continue
        typed = _typed(rule, value)
        if typed is None:
            problems.append(f"{name}: {_shown(value)} is not allowed; it must be {rule}{_spelling_hint(rule, value)}.")
        else:
            wire[name] = typed
    return wire


def _typed(rule: Parameter, value: object) -> int | bool | str | None:
    """The value as the wire needs it, or None if it breaks the rule."""
    if isinstance(rule, Integer):
        number = _integer(value)
        return number if number is not None and rule.minimum <= number <= rule.maximum else None
    if isinstance(rule, Boolean):
        return _boolean(value)
    return value if isinstance(value, str) and value in rule.values else None


def _integer(value: object) -> int | None:
    """10, "10" and 10.0 are integers; True, 2.5, "2.5" and "ten" are not."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value
    # Python refuses to read very long numbers; no parameter has this many digits.
    if isinstance(value, str) and len(value) < 100 and value.strip().removeprefix("-").isdecimal() and value.isascii():  # noqa: PLR2004
        return int(value)
    return None


def _boolean(value: object) -> bool | None:
    """True and "true" are booleans, in any letter case; 1 and "yes" are not."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False}
    return words.get(value.strip().lower()) if isinstance(value, str) else None


_NUMBERS_BY_NAME = ("duration", "seed")
_BOOLEANS_BY_NAME = ("prompt_extend", "watermark", "audio")


def _from_text(name: str, value: object) -> object:
    """For a model without rules: what is text only because a template rendered it, typed by its well-known name."""
    if not isinstance(value, str):
        return value
    typed: object = None
    if name in _NUMBERS_BY_NAME:
        typed = _integer(value)
    elif name in _BOOLEANS_BY_NAME:
        typed = _boolean(value)
    return value if typed is None else typed


def _spelling_hint(rule: Parameter, value: object) -> str:
    if not isinstance(rule, Choice) or not isinstance(value, str):
        return ""
    meant = [choice for choice in rule.values if choice.lower() == value.strip().lower()]
    return f' (write "{meant[0]}")' if meant else ""


def _shown(value: object) -> str:
    """A value for a message, short and without a signature."""
    try:
        text = redact(repr(value))
    except Exception:  # noqa: BLE001 - an integer of thousands of digits, or a foreign object's own fault
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 120 else text[:120] + "…"  # noqa: PLR2004


def _merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``extra`` laid over ``body``, dict by dict."""
    merged = dict(body)
    for name, value in extra.items():
        under = merged.get(name)
        merged[name] = _merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
