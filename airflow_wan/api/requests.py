"""A DAG author's arguments → the JSON body of a create request, checked before a cent is spent."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_wan.api.catalogue import (
    MEDIA_KINDS,
    SIZES,
    Boolean,
    Choice,
    Integer,
    MediaKind,
    MediaLimits,
    Model,
    Parameter,
    Pattern,
    find_model,
    known_model_ids,
)
from airflow_wan.api.gateways import TEXTS
from airflow_wan.api.resolutions import nearest_resolution
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.net.addresses import is_loopback, is_private
from airflow_wan.net.stores import STORE_PACKAGES
from airflow_wan.redaction import redact

if TYPE_CHECKING:
    from airflow_wan.api.gateways import Gateway

DEFAULT_RESOLUTION = "720P"
"""Sent when the author names none: the gateways' own defaults differ, and 1080P costs more."""

DEFAULT_RATIO = "16:9"
"""Of which a legacy body's ``size`` is made when the author names none; both gateways' own default."""


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
    :param row: what the catalogue says of its model at its gateway; None for a model that it does not know.
    """

    body: dict[str, Any]
    warnings: tuple[str, ...] = ()
    media: tuple[MediaReference, ...] = ()
    row: Model | None = field(default=None, repr=False)

    def with_urls(self, urls: Mapping[str, str]) -> VideoRequest:
        """The same request with its media elsewhere: URL as the author wrote it → URL on the wire."""
        inputs = {
            name: value if name in TEXTS else _elsewhere(value, urls) for name, value in self.body["input"].items()
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

    @property
    def seconds(self) -> float | None:
        """Length asked for, s; None where the video follows its source, or the model decides."""
        given = self.parameters.get("duration")
        if given is None:
            return self.row.default_seconds if self.row else None
        return given if isinstance(given, (int, float)) and given > 0 else None

    @property
    def longest_seconds(self) -> float | None:
        """The most it can be, s; None where nobody knows."""
        return self.seconds or (self.row.longest_seconds if self.row else None)

    @property
    def follows_source(self) -> bool:
        """Whether it will be as long as the video it is made from."""
        return self.seconds is None and self.row is not None and self.row.default_seconds is None

    @property
    def billed_input_seconds(self) -> float:
        """The most of its input videos that is billed too, s."""
        has_video = any(reference.kind is MediaKind.VIDEO for reference in self.media)
        return self.row.billed_input_seconds if self.row and has_video else 0

    @property
    def resolution(self) -> str:
        """``480P``, ``720P`` or ``1080P``; of a ``size``, the nearest."""
        given, size = self.parameters.get("resolution"), self.parameters.get("size")
        if given is None and isinstance(size, str):
            return nearest_resolution(_area(size))
        return str(given or DEFAULT_RESOLUTION)

    @property
    def is_driven_by_audio(self) -> bool:
        """Whether a sound track was given, so that the video must have one."""
        return any(reference.role in ("driving_audio", "audio_url") for reference in self.media)

    def __str__(self) -> str:
        """What is ordered, in a few words without URLs: ``wan2.7-i2v, 720P, 10 s, first_frame + driving_audio``."""
        duration = self.parameters.get("duration")
        words = [
            self.model,
            self.parameters.get("resolution") or self.parameters.get("size"),
            f"{duration} s" if duration is not None else None,
            " + ".join(reference.role for reference in self.media),
        ]
        return ", ".join(str(word) for word in words if word)


def _area(size: str) -> int:
    """Pixels of a ``size`` such as ``1280*720``; 1 of what is none, which may come by ``extra_body``."""
    width, _, height = size.partition("*")
    return max(1, (_integer(width) or 0) * (_integer(height) or 0))


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
    audio_url: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> VideoRequest:
    """Build the body of a create request and check it against the catalogue.

    :param gateway: the gateway it will go to; the two differ in what they require.
    :param base_url: where that gateway is reached; on loopback (an emulator) media may be plain http on loopback.
    :param model: model id. An id that is not in the catalogue passes with a warning, its fields as given.
    :param prompt: what should happen in the video.
    :param media: ``input.media``: dicts with ``type`` and ``url``: a public https URL, a data URI (images), an object
        store URI or an absolute path.
    :param parameters: ``resolution``, ``duration`` (s) and so on. Text that a template rendered ("10", "True") becomes
        the integer or boolean that the wire needs.
    :param negative_prompt: what should not be seen.
    :param audio_url: the sound track of a text-to-video request, given as media are.
    :param extra_body: merged into the body unchecked: for fields this package does not know.
    :raises InvalidVideoRequest: with every problem at once.
    """
    problems: list[str] = []
    warnings: list[str] = []
    if is_unset(model) or not isinstance(model, str):
        raise InvalidVideoRequest([f"model: {_shown(model)} is not a model id, such as 'wan2.7-i2v'."])

    row = find_model(model, gateway.name)
    items = _media_items(media, problems)
    references = _references(items, row)
    if audio_url is not None and not is_unset(audio_url):
        limits = row.limits if row else {}
        references.append(MediaReference("audio_url", audio_url, limits.get("audio_url")))
    _check_urls(references, base_url, problems)
    given = _mapping("parameters", parameters, problems)
    wire = {name: value for name, value in given.items() if not is_unset(value)}
    if row is None:
        warnings.append(
            f"Model {model!r} is not in this package's catalogue ({', '.join(known_model_ids())}): "
            "its media and parameters are sent as given, unchecked."
        )
        wire = {name: _from_text(name, value) for name, value in wire.items()}
    else:
        _check_prompts(prompt, negative_prompt, row, gateway, problems)
        if not row.prompt_required and is_unset(prompt) and not items:
            problems.append(f"prompt: missing; {model} needs a prompt, media or both.")
        _check_media(model, row, items, problems)
        wire = _checked_parameters(model, row, wire, problems)
        _check_references(model, row, references, wire, problems)
        _settle_size(row, wire)
        warnings += _undocumented(model, row, gateway, {reference.role for reference in references} | wire.keys())
    extra = _mapping("extra_body", extra_body, problems)
    if problems:
        raise InvalidVideoRequest(problems)

    texts = {"prompt": prompt, "negative_prompt": negative_prompt, "audio_url": audio_url}
    inputs = {name: text for name, text in texts.items() if not is_unset(text)} | _media_fields(items, row)
    body = _merged({"model": model, "input": inputs, "parameters": wire}, extra)
    _check_json(body, problems)
    if problems:
        raise InvalidVideoRequest(problems)
    return VideoRequest(body=body, warnings=tuple(warnings), media=tuple(references), row=row)


def _media_fields(items: list[dict[str, Any]], row: Model | None) -> dict[str, Any]:
    """The fields of ``input`` that hold the media: ``media`` itself, or for a legacy body, those of each type."""
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


def _check_references(
    model_id: str, row: Model, references: Sequence[MediaReference], wire: Mapping[str, Any], problems: list[str]
) -> None:
    """What files and parameters mean for each other."""
    roles = {reference.role for reference in references}
    if "audio_url" in roles and not row.takes_audio_url:
        problems.append(f"audio_url: {model_id} takes none.")
    seconds, longest = wire.get("duration"), row.longest_with_video
    if longest and "reference_video" in roles and isinstance(seconds, int) and seconds > longest:
        problems.append(f"duration: {seconds} is not allowed; with a reference_video it is at most {longest:g}.")


def _settle_size(row: Model, wire: dict[str, Any]) -> None:
    """Name the resolution, which is always sent; where a legacy body wants a size, the size instead."""
    if row.legacy is None or not row.legacy.takes_size:
        wire.setdefault("resolution", DEFAULT_RESOLUTION)
        return
    tier, ratio = wire.pop("resolution", DEFAULT_RESOLUTION), wire.pop("ratio", DEFAULT_RATIO)
    wire.setdefault("size", SIZES[tier, ratio])


def _undocumented(model: str, row: Model, gateway: Gateway, fields: AbstractSet[str]) -> Iterator[str]:
    """What may not reach the model."""
    if not row.documented:
        yield f"{gateway.title} does not document {model}; whether it offers it is unknown."
    if given := sorted(row.undocumented & fields):
        yield (
            f"{gateway.title} does not document {', '.join(given)} for {model}; "
            "whether it passes it on to the model is unknown."
        )


def _references(items: list[dict[str, Any]], row: Model | None) -> list[MediaReference]:
    """Every file that media items name."""
    limits = row.limits if row else {}
    found = []
    for item in items:
        found.append(MediaReference(item["type"], item["url"], limits.get(item["type"])))
        if not is_unset(item.get("reference_voice")):
            found.append(MediaReference("reference_voice", item["reference_voice"], limits.get("reference_voice")))
    return found


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
            fields[_word(section)] = (section, content)
        elif isinstance(content, Mapping):
            fields |= {f"{section}.{_word(name)}": (name, value) for name, value in content.items()}
        else:
            problems.append(f"{section}: {_shown(content)} is not a dict.")
    for where, (name, value) in fields.items():
        try:
            json.dumps({name: value}, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(f"{where}: {_shown(value)} cannot be sent as JSON ({error}).")


def _check_prompts(prompt: object, negative_prompt: object, row: Model, gateway: Gateway, problems: list[str]) -> None:
    if not is_unset(prompt):
        _check_text("prompt", prompt, row.prompt_chars, problems)
    elif row.prompt_required:
        problems.append(f"prompt: missing; {gateway.title} requires one.")
    if is_unset(negative_prompt):
        return
    if row.negative_prompt_chars:
        _check_text("negative_prompt", negative_prompt, row.negative_prompt_chars, problems)
    else:
        problems.append(f"negative_prompt: {gateway.title} documents none for this model.")


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


def _check_media(model_id: str, row: Model, items: list[dict[str, Any]], problems: list[str]) -> None:
    """Hold the media to the model's rule; one sentence for each way in which they break it."""
    before = len(problems)
    counts = Counter(str(item["type"]) for item in items)
    for media_type in counts:
        if media_type not in row.media.types:
            note = row.notes.get(media_type)
            taken = f"one of {', '.join(sorted(row.media.types))}, which" if row.media.types else "taken:"
            takes = f"{model_id} takes" + ("" if row.media.types else " no media")
            problems.append(f"media: type {media_type!r} is not {taken} {takes}{f' ({note})' if note else ''}.")
    for item in items:
        strangers = set(item) - {"type", "url"} - ({"reference_voice"} if item["type"] in row.voiced else set())
        problems += [f"{item['type']}.{name}: not a field of such an item." for name in sorted(map(_word, strangers))]
    for count in row.media.counts:
        given = sum(counts[media_type] for media_type in count.types)
        if given > count.most == 1 and len(count.types) == 1:
            problems.append(f"media: {count.types[0]} is given {given} times; at most one is allowed.")
        elif not count.least <= given <= count.most:
            problems.append(f"media: {given} {' and '.join(count.types)} given; {model_id} takes {count}.")
    if len(problems) > before:
        return
    if row.media.sets and frozenset(counts) not in row.media.sets:
        given_types = " + ".join(counts) or "nothing"
        legal = "; ".join(" + ".join(sorted(combination, key=_media_order)) for combination in row.media.sets)
        problems.append(f"media: {given_types} is no legal combination for {model_id}; it takes one of: {legal}.")
    left, right = row.media.never_together or (frozenset(), frozenset())
    if left & counts.keys() and right & counts.keys():
        problems.append(
            f"media: {' and '.join(sorted(left & counts.keys()))} cannot be mixed with "
            f"{' and '.join(sorted(right & counts.keys()))}."
        )


def _media_order(media_type: str) -> tuple[bool, str]:
    """First frames and clips come first in a sentence."""
    return (not media_type.startswith("first"), media_type)


def _check_urls(references: Sequence[MediaReference], base_url: str, problems: list[str]) -> None:
    on_loopback = is_loopback(urlsplit(base_url).hostname)
    for reference in references:
        problem = _url_problem(reference.url, reference.kind, loopback_allowed=on_loopback)
        if problem:
            problems.append(f"{reference.role}: {_shown(reference.url)} {problem}")


def _url_problem(url: object, kind: MediaKind, *, loopback_allowed: bool) -> str | None:
    """Why this is neither what a gateway on the internet could fetch, nor what can be made into it; None if it is."""
    if not isinstance(url, str):
        return "is not a URL."
    if url.startswith("data:"):
        if kind is MediaKind.IMAGE and url.startswith("data:image/") and ";base64," in url:
            return None
        return "is not allowed: only images may be base64 data URIs (data:image/png;base64,…)."
    if is_source(url) and kind is not MediaKind.OTHER:
        return None
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
        return (
            "is not a public https:// URL, which the gateway must be able to fetch with a plain GET, nor an object "
            "store URI (s3://…), nor an absolute path."
        )
    if not loopback_allowed and is_private(host):
        return "is not reachable from the internet; the gateway needs a public https:// URL."
    return None


def is_source(url: str) -> bool:
    """Whether this is a local file or an object in a store, which the gateway cannot fetch as it is.

    A path must be absolute: nobody can say in which folder a worker runs.
    """
    scheme, separator, rest = url.partition("://")
    if separator:
        return scheme.lower() in {"file", *STORE_PACKAGES} and bool(rest.strip("/"))
    return url.startswith(("/", "~/")) and not url.startswith("//")


def _checked_parameters(model_id: str, row: Model, given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    for name, value in given.items():
        rule = row.parameters.get(name)
        if rule is None:
            near = difflib.get_close_matches(_word(name), row.parameters, n=1, cutoff=0.8)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(row.parameters)}."
            problems.append(f"parameters: {_word(name)}={_shown(value)} is not known for {model_id}; {hint}")
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
        return number if number is not None and rule.allows(number) else None
    if isinstance(rule, Boolean):
        return _boolean(value)
    if isinstance(rule, Pattern):
        return value if isinstance(value, str) and re.fullmatch(rule.form, value, re.ASCII) else None
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


def _word(name: object) -> str:
    """A field's name for a message; in an author's dict it need not be text."""
    return name if isinstance(name, str) else _shown(name)


def _merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``extra`` laid over ``body``, dict by dict."""
    merged = dict(body)
    for name, value in extra.items():
        under = merged.get(name)
        merged[name] = _merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
