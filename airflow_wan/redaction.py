"""Finding what signs a URL, so that it can be hidden from people and left out of comparisons."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

# Query parameters that sign a URL, in lower case: S3, CloudFront, Google, OSS, and Azure's shared access signatures.
_SIGNING = re.compile(
    r"x-amz-.*|x-goog-.*|x-oss-.*|signature|expires|ossaccesskeyid|awsaccesskeyid|googleaccessid|security-token|policy|"
    r"key-pair-id|sig|se|sp|sv|sr|st|spr|sks?|skoid|sktid|skt|ske|skv|token|access_token"
)
# All of a text that is an address: of the web, whose user and password are secrets, or of a store, whose user is the id
# of a connection; then what signs it.
_ADDRESS = re.compile(
    r"^(https?://)(?:[^/?#\s]*@)?([^?#\s]*)(?:[?#]\S*)?$|^([a-z][a-z0-9+.-]*://[^?#\s]*)[?#]\S*$", re.IGNORECASE
)

# A prompt may begin with "data:" too; a type or an encoding must follow.
_DATA_URI = re.compile(r"data:(?=[\w;])(?P<type>[\w.+-]+/[\w.+-]+)?(?P<options>(?:;[^,;\s]+)*),", re.IGNORECASE)


def without_signature(url: str) -> str:
    """The URL without the parameters that sign it, which differ at every rendering."""
    address, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _signs(pair)]
    return f"{address}?{'&'.join(kept)}" if kept else address


def unsigned_body(value: Any) -> Any:
    """A request's JSON as it may be kept: no address's query, fragment or password, and of inline data its digest."""
    if isinstance(value, Mapping):
        return {name: unsigned_body(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [unsigned_body(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return _ADDRESS.sub(r"\1\2\3", digested(value))


def digested(text: str) -> str:
    """Of a data URI, its type and its content's digest: ``data:image/png;sha256=…``; all other text as it is."""
    data_uri = _DATA_URI.match(text)
    if data_uri is None:
        return text
    content = unquote_to_bytes(text[data_uri.end() :])
    if data_uri["options"].lower().endswith(";base64"):
        with contextlib.suppress(ValueError):  # what is no base64 is digested as it stands
            content = base64.b64decode(content)
    return f"data:{data_uri['type'] or 'text/plain'};sha256={hashlib.sha256(content).hexdigest()}"


def signed_queries(value: object) -> Iterator[str]:
    """The query strings of all signed URLs anywhere in a value."""
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        query = value.partition("?")[2]
        if any(_signs(pair) for pair in query.split("&")):
            yield query
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from signed_queries(inner)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for inner in value:
            yield from signed_queries(inner)


def _signs(pair: str) -> bool:
    return _SIGNING.fullmatch(pair.partition("=")[0].lower()) is not None


_SIGNED_URL = re.compile(r"(https?://[^\s\"'<>?#]+)[?#][^\s\"'<>]*", re.IGNORECASE)
_API_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{4,}")


def redact(text: str) -> str:
    """Cut the query string, where signatures live, off every URL in the text, and hide what looks like an API key."""
    return _API_KEY.sub("sk-…", _SIGNED_URL.sub(r"\1?…", text))
