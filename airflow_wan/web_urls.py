"""Tells what in a web address names a file from what only allows to fetch it.

Who signs a URL makes the signature anew each time, under names that differ from vendor to vendor. So not only known
names decide about the pairs of a query, but also what their values look like:

- A name that says which file, or which version of it, always counts: ``versionId``, ``generation``, ``id``, ``file``.
- A name that is known to sign never counts: those of S3, Google, Azure, Alibaba, Tencent and their like.
- Of any other name, the value decides. One that looks like a signature does not count. Beside a signature, a moment
  does not count either, such as ``1764115200`` or ``20261126T000000Z``: it says from when, or until when, to allow it.
- So in a query without any signature, everything counts.

All of it takes linear time, whatever the input.
"""

from __future__ import annotations

import re
from itertools import pairwise
from urllib.parse import quote, unquote_plus

__all__ = ["file_identity", "has_signing_name", "is_signed", "is_web_url", "signed_segments"]

# Names in lower case.
_VERSION_NAME = re.compile(r".*version[-_.]?id")
_SIGNING_NAME = re.compile(
    r"x-[a-z0-9]+-.*|q-.*|signature|sign|sig|expires|ossaccesskeyid|awsaccesskeyid|accesskeyid|googleaccessid|"
    r"security-token|policy|key-pair-id|hdnts|hdnea|__token__|auth_key|authorization|auth|hmac|token|access_token|"
    r"_upt|rlkey|timestamp|nonce|se|sp|sv|sr|st|spr|sks?|skoid|sktid|skt|ske|skv"
)
_FILE_NAME = re.compile(
    r"(?!.*(?:session|request|trace|client|user))(?:(?:.*[-_.])?"
    r"(?:id|uuid|guid|version|ver|v|revision|rev|generation|snapshot|etag|"
    r"file|filename|name|path|image|img|photo|picture|object|asset)|"
    r"(?:file|image|img|photo|picture|video|media|asset|object|doc|item|product)id)"
)

_SHORTEST_SIGNATURE = 16
"""Letters and digits of the shortest signature that is known by its look."""

_CHARACTERS_A_CHANGE = 5
"""A signature changes between digits, capitals and small letters at least once in so many characters."""

_HEX = re.compile(r"[0-9a-fA-F]{16,}")
_WORD = re.compile(r"[a-z]*(?:[A-Z][a-z]{2,})*[A-Z]?\d*|[A-Z]+\d*")
_NO_LETTER_OR_DIGIT = re.compile(r"[^A-Za-z0-9]+")
_BETWEEN_PARTS = re.compile(r"[~;,:|=\s]")

# Unix time in s, ms or µs, in s in hexadecimal, or a date and a time (ISO 8601, with or without signs; RFC 9110).
_MOMENT = re.compile(
    r"(?:1[5-9]|[23]\d)\d{8}(?:(?:\d{3}){1,2}|\.\d{1,6})?|[5-9a-fA-F][0-9a-fA-F]{7}|"
    r"20\d\d-?[01]\d-?[0-3]\d(?:[T ]?\d[\d:.]*)?T?(?:Z|[+-]\d\d:?\d\d)?|"
    r"[A-Z][a-z]{2}, [0-3]?\d [A-Z][a-z]{2} 20\d\d [\d:]{8} GMT"
)

_WEB_URL = re.compile(r"(https?)://([^/?#\\]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_WHITESPACE = re.compile(r"\s")
_MAX_NESTED = 3
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ENCODED_PLAIN = re.compile(r"(?<!%)(?<!%[0-9A-Fa-f])%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")


def is_web_url(text: str) -> bool:
    """Return whether a text begins like a web address, in whatever case."""
    return _WEB_URL.match(text) is not None


def is_signed(query: str) -> bool:
    """Return whether a query holds a signature, a token or a key.

    :param query: the query without its question mark. It may be encoded as a whole, even more than once.
    """
    return any(_is_signature(*pair) for pair in _pairs_within(query))


def has_signing_name(query: str) -> bool:
    """Return whether a query has a name that is known to sign. For the query, see `is_signed`."""
    return any(_SIGNING_NAME.fullmatch(name.lower()) for name, _ in _pairs_within(query))


def signed_segments(path: str) -> list[str]:
    """Return the segments of a path that are made like a query, with a signature, as some CDNs have it.

    :param path: the path, or a whole address without its query.
    """
    return [part for part in path.split("/") if "=" in part and is_signed(part)]


def file_identity(url: str) -> str:
    """Return what identifies the file of a web address; any other text as it is, such as one that goes on after it.

    That is scheme and host in small letters, the path, and what of the query names the file or a version of it. Users,
    passwords, fragments, the order of the query and needless percent-encoding make no difference.
    """
    return url if _WHITESPACE.search(url) else _identity(url, _MAX_NESTED)


def _identity(url: str, nested: int) -> str:
    parts = _WEB_URL.match(url)
    if parts is None:
        return url
    scheme, host = parts[1].lower(), parts[2].rpartition("@")[2].lower()
    signed = set(signed_segments(parts[3]))
    path = "/".join(part for part in parts[3].split("/") if part not in signed)
    path = _ENCODED_PLAIN.sub(lambda match: unquote_plus(match[0]), path)
    address = f"{scheme}://{host.removesuffix(_DEFAULT_PORTS[scheme])}{path}"
    pairs = [_split(pair) for pair in (parts[4] or "").split("&") if pair]
    is_beside_a_signature = any(_is_signature(*pair) for pair in pairs)
    kept = []
    for name, value in pairs:
        if nested and is_web_url(value):
            kept.append((name, _identity(value, nested - 1)))
        elif _names_a_file(name) or not (
            _is_signature(name, value) or (is_beside_a_signature and _MOMENT.fullmatch(value))
        ):
            kept.append((name, value))
    return f"{address}?{'&'.join(sorted(map(_joined, kept)))}" if kept else address


def _pairs_within(query: str) -> set[tuple[str, str]]:
    plain = unquote_plus(re.sub("%(?:25)+", "%", query))
    return {_split(pair) for text in (query, plain) for pair in re.split("[&;?#]", text)}


def _split(pair: str) -> tuple[str, str]:
    """Return name and value of a pair of a query, decoded; a pair without "=" is a value."""
    name, equals, value = pair.partition("=")
    return (unquote_plus(name), unquote_plus(value)) if equals else ("", unquote_plus(name))


def _joined(pair: tuple[str, str]) -> str:
    return "=".join(quote(part, safe="/:,;@!*~$'()", errors="surrogatepass") for part in pair)


def _names_a_file(name: str) -> bool:
    name = name.lower()
    return bool(_VERSION_NAME.fullmatch(name) or (_FILE_NAME.fullmatch(name) and not _SIGNING_NAME.fullmatch(name)))


def _is_signature(name: str, value: str) -> bool:
    if _names_a_file(name):
        return False
    return bool(_SIGNING_NAME.fullmatch(name.lower())) or _looks_like_a_signature(value)


def _looks_like_a_signature(value: str) -> bool:
    """Return whether a value is long, and mixes digits, capitals and small letters as no words do."""
    return any(_is_mixed(part) for part in (value, *_BETWEEN_PARTS.split(value)))


def _is_mixed(text: str) -> bool:
    if any(not run.isdigit() and not run.isalpha() for run in _HEX.findall(text)):
        return True
    pieces = _NO_LETTER_OR_DIGIT.split(text)
    joined = "".join(pieces)
    if len(joined) < _SHORTEST_SIGNATURE or all(map(_WORD.fullmatch, pieces)):
        return False
    kinds = [(character.isdigit(), character.isupper()) for character in joined]
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes * _CHARACTERS_A_CHANGE >= len(joined)
