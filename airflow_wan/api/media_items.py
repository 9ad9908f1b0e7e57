"""Reads and checks the media of a request: the items of ``input.media``, and the URL of every file that they name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_wan.api.arguments import is_sequence, is_unset, path_as_text, show, show_name
from airflow_wan.api.rules import MEDIA_KINDS, Count, MediaKind, MediaLimits, MediaRule, Model
from airflow_wan.net.addresses import is_loopback, is_private
from airflow_wan.net.stores import STORE_PACKAGES

DURATION_TOLERANCE_S = 0.1
"""Seconds by which a length may miss its limits: an encoded file rarely lasts exactly as long as its samples."""

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class MediaReference:
    """One file that a request names.

    :param role: its media type, or ``reference_voice`` or ``audio_url``.
    :param url: where it is, as the author wrote it: https URL, data URI, object store URI or absolute path.
    :param limits: what the file must be, if the gateway documents it.
    """

    role: str
    url: str = field(repr=False)
    limits: MediaLimits | None = None

    @property
    def kind(self) -> MediaKind:
        """What the file contains."""
        return MEDIA_KINDS.get(self.role, MediaKind.OTHER)


def read_items(media: object, problems: list[str]) -> list[dict[str, Any]]:
    """Return the media items as dicts with a type and a URL.

    :param media: the argument as the author gave it.
    :param problems: gets a sentence for each item that lacks one of them, or if the argument is no list.
    """
    if media is None:
        return []
    if not isinstance(media, Sequence) or not is_sequence(media):
        problems.append(f"media must be a list of items like {{'type': 'first_frame', 'url': …}}, got {show(media)}.")
        return []
    items: list[dict[str, Any]] = []
    for index, item in enumerate(media):
        if not isinstance(item, Mapping) or is_unset(item.get("type")) or is_unset(item.get("url")):
            problems.append(f"media[{index}] must be a dict with a 'type' and a 'url', got {show(item)}.")
        elif not isinstance(item["type"], str):
            problems.append(f"media[{index}]: the type must be a string, got {show(item['type'])}.")
        else:
            items.append({name: path_as_text(value) for name, value in item.items()})
    return items


def list_references(items: list[dict[str, Any]], audio_url: str | None, model: Model | None) -> list[MediaReference]:
    """Return every file that a request names, in the order of the request.

    :param items: its media items.
    :param audio_url: its sound track, if it has one.
    :param model: the model's row in the catalogue, for the limits of each file.
    """
    files = []
    for item in items:
        files.append((item["type"], item["url"]))
        files.append(("reference_voice", item.get("reference_voice")))
    files.append(("audio_url", audio_url))
    limits = model.limits if model else {}
    return [MediaReference(role, url, limits.get(role)) for role, url in files if not is_unset(url)]


def media_problems(model_id: str, model: Model, items: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each way in which media items break the rules of a model."""
    given = Counter(str(item["type"]) for item in items)
    problems = [
        *_type_problems(model_id, model, given),
        *_field_problems(model, items),
        *_count_problems(model_id, model.media, given),
    ]
    return problems or list(_combination_problems(model_id, model.media, given))


def _type_problems(model_id: str, model: Model, given: Counter[str]) -> Iterator[str]:
    taken = ", ".join(sorted(model.media.types)) or "no media"
    for media_type in given:
        if media_type not in model.media.types:
            note = f" ({model.notes[media_type]})" if media_type in model.notes else ""
            yield f"media: {model_id} does not take the type {media_type!r}; it takes {taken}{note}."


def _field_problems(model: Model, items: list[dict[str, Any]]) -> Iterator[str]:
    for item in items:
        known = {"type", "url", "reference_voice"} if item["type"] in model.voiced else {"type", "url"}
        for name in sorted(map(show_name, set(item) - known)):
            yield f"media: an item of type {item['type']} has no field {name}."


def _count_problems(model_id: str, rule: MediaRule, given: Counter[str]) -> Iterator[str]:
    for count in rule.counts:
        number = sum(given[media_type] for media_type in count.types)
        if not count.least <= number <= count.most:
            yield f"media: {model_id} takes {_count_in_words(count)}, got {number}."


def _count_in_words(count: Count) -> str:
    return f"at most one {count.types[0]}" if (count.least, count.most, len(count.types)) == (0, 1, 1) else str(count)


def _combination_problems(model_id: str, rule: MediaRule, given: Counter[str]) -> Iterator[str]:
    for needing, needed in rule.needs.items():
        if given[needing] and not given[needed]:
            yield f"media: {model_id} takes a {needing} only together with a {needed}."
    if rule.sets and frozenset(given) not in rule.sets:
        allowed = "; ".join(" + ".join(sorted(combination, key=_first_ones_first)) for combination in rule.sets)
        got = " + ".join(given) or "no media"
        yield f"media: {model_id} takes one of these combinations: {allowed}. Got {got}."
    one, other = rule.never_together or (frozenset(), frozenset())
    if one & given.keys() and other & given.keys():
        yield (
            f"media: {' and '.join(sorted(one & given.keys()))} cannot be in one request with "
            f"{' and '.join(sorted(other & given.keys()))}."
        )


def _first_ones_first(media_type: str) -> tuple[bool, str]:
    """Sort ``first_frame`` and ``first_clip`` before the other types."""
    return (not media_type.startswith("first"), media_type)


def url_problems(references: Sequence[MediaReference], base_url: str, *, http_allowed: bool) -> Iterator[str]:
    """Yield a sentence for each file that the gateway could not fetch and this package could not make available.

    :param references: the files.
    :param base_url: the gateway's address; if it is on loopback (an emulator), files may be on loopback too.
    :param http_allowed: whether the gateway fetches files by http:// too.
    """
    loopback_allowed = is_loopback(urlsplit(base_url).hostname)
    for reference in references:
        problem = _url_problem(reference, loopback_allowed=loopback_allowed, http_allowed=http_allowed)
        if problem:
            yield f"{reference.role}: {_shown(reference.url)} {problem}."


def _shown(url: object) -> str:
    """Return what was given as a URL, for a message: without what may be a query, as it may be a mistyped URL."""
    if not isinstance(url, str) or is_source(url):
        return show(url)
    beginning = re.split("[?#]", url, maxsplit=1)[0]
    return show(beginning if beginning == url else f"{beginning}?…")


def length_problems(
    model_id: str, model: Model, duration_s: float | None, files: Sequence[tuple[MediaReference, float | None]]
) -> Iterator[str]:
    """Yield a sentence for each way in which files, or the input and the video, last too long together.

    :param model_id: the model, for messages.
    :param model: its row in the catalogue.
    :param duration_s: length of the video that is asked for, in seconds; None if that is open.
    :param files: every file with its length, in seconds, where it is known; of others, the least one counts.
    """
    by_role: dict[str, list[float]] = {}
    for reference, length in files:
        shortest = getattr(reference.limits, "shortest_s", None) or 0.0
        by_role.setdefault(reference.role, []).append(shortest if length is None else length)
    for role, longest in model.longest_together_s.items():
        lengths = by_role.get(role, [])
        if sum(lengths) > longest + DURATION_TOLERANCE_S * len(lengths):
            yield f"{role}: together they last {sum(lengths):.2f} s; {model_id} takes at most {longest:g} s."
    clips = [
        length for role, lengths in by_role.items() if MEDIA_KINDS.get(role) is MediaKind.VIDEO for length in lengths
    ]
    longest_in_all = model.longest_in_all_s
    if not clips or duration_s is None or longest_in_all is None:
        return
    if sum(clips) + duration_s > longest_in_all + DURATION_TOLERANCE_S * len(clips):
        yield (
            f"duration: {duration_s:g} s and {sum(clips):.2f} s of input video are more than the {longest_in_all:g} s "
            f"that {model_id} takes in all."
        )


def _url_problem(reference: MediaReference, *, loopback_allowed: bool, http_allowed: bool) -> str | None:
    """Return what is wrong with a file's URL, as the predicate of a sentence, or None."""
    url: object = reference.url
    kind = reference.kind
    if not isinstance(url, str):
        return "is not a URL"
    if url.startswith("data:"):
        if not getattr(reference.limits, "data_uri", True):
            return "is not allowed: this model takes its images by URL only, not as data URIs"
        is_image = kind is MediaKind.IMAGE and url.startswith("data:image/") and ";base64," in url
        return None if is_image else "is not allowed: only images may be base64 data URIs (data:image/png;base64,…)"
    if is_source(url) and kind is not MediaKind.OTHER:
        return None
    if not url.isascii() or not url.isprintable() or " " in url:
        return "has characters that must be percent-encoded in a URL (the gateways refuse them)"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is none raises ValueError
    except ValueError:
        return "is not a valid URL"
    if loopback_allowed and parts.scheme == "http" and is_loopback(host):
        return None
    if (
        parts.scheme not in (("http", "https") if http_allowed and kind is not MediaKind.OTHER else ("https",))
        or not host
    ):
        return (
            "is neither a public https:// URL that the gateway can fetch with a plain GET, nor an object store URI "
            "(s3://…), nor an absolute path"
        )
    if not loopback_allowed and is_private(host):
        return "is not reachable from the internet; the gateway needs a public https:// URL"
    return None


def is_source(url: str) -> bool:
    """Return whether this is a local file or an object in a store, which the gateway cannot fetch as it is.

    A path must be absolute: workers have no common working directory.
    """
    scheme, separator, rest = url.partition("://")
    if separator:
        return scheme.lower() in {"file", *STORE_PACKAGES} and bool(rest.strip("/"))
    return url.startswith(("/", "~/")) and not url.startswith("//")
