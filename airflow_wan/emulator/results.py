"""Result files behind signed URLs, served as Alibaba's object store (OSS) serves them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from fastcrc import crc64
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

Serve: TypeAlias = "Callable[[Request, bytes, float, str], Response]"
"""A function that serves a file; see `serve` for the arguments."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Signer:
    """A signer of result URLs, like OSS: HMAC-SHA1 over verb, expiry and path, with a random secret."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def url(self, base: str, path: str, expires_at: float) -> str:
        """Return a signed URL, which differs from all earlier ones.

        :param expires_at: when it expires, in seconds since the epoch.
        """
        access_key_id = f"LTAI{secrets.token_hex(8)}"
        expires = str(int(expires_at))
        query = {
            "Expires": expires,
            "OSSAccessKeyId": access_key_id,
            "Signature": self._sign("GET", path, access_key_id, expires),
        }
        return f"{base}{quote(path)}?{urlencode(query)}"

    def is_genuine(self, request: Request) -> bool:
        """Return whether the signature in the request fits its verb and path."""
        query = request.query_params
        expected = self._sign(
            request.method, request.url.path, query.get("OSSAccessKeyId", ""), query.get("Expires", "")
        )
        return hmac.compare_digest(expected.encode(), query.get("Signature", "").encode())

    def _sign(self, verb: str, path: str, access_key_id: str, expires: str) -> str:
        text = f"{verb}\n\n\n{expires}\n{access_key_id}\n{path}"
        return base64.b64encode(hmac.new(self._secret, text.encode(), hashlib.sha1).digest()).decode()


def refuse(request: Request, signer: Signer, now: float, request_id: str) -> Response | None:
    """Return OSS's error for a request that may not have the file, or None if it may."""
    query = request.query_params
    if "Signature" not in query:
        return xml_error(403, "AccessDenied", "You have no right to access this object.", request_id)
    if "authorization" in request.headers or not signer.is_genuine(request):
        # APIYI docs: this is the answer to a download that sends the API key.
        return xml_error(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            request_id,
        )
    if now >= int(query["Expires"]):
        return expired(request_id)
    return None


def serve(request: Request, content: bytes, modified_at: float, request_id: str) -> Response:
    """Return a file, or the part of it that the Range header asks for.

    :param modified_at: for Last-Modified, in seconds since the epoch.
    """
    digest = hashlib.md5(content, usedforsecurity=False)
    etag = f'"{digest.hexdigest().upper()}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": "video/mp4",
        "ETag": etag,
        "Last-Modified": formatdate(modified_at, usegmt=True),
        # Of the whole object, even if only a part is sent (OSS docs, "Data verification").
        "x-oss-hash-crc64ecma": str(crc64.xz(content)),
        "x-oss-request-id": request_id,
    }
    range_header = request.headers.get("range")
    span = _span(range_header, len(content)) if range_header and request.headers.get("if-range", etag) == etag else None
    if span is None:
        headers["Content-MD5"] = base64.b64encode(digest.digest()).decode()
        return Response(content, headers=headers)
    start, end = span
    if start >= len(content) or start >= end:
        refusal = xml_error(416, "InvalidRange", "The requested range cannot be satisfied", request_id)
        refusal.headers["Content-Range"] = f"bytes */{len(content)}"
        return refusal
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], status_code=206, headers=headers)


def serve_changed(request: Request, content: bytes, modified_at: float, request_id: str) -> Response:
    """Return another file: the same video, followed by an empty mp4 box."""
    return serve(request, content + b"\0\0\0\x08free", modified_at, request_id)


def serve_without_validators(_request: Request, content: bytes, _modified_at: float, request_id: str) -> Response:
    """Return the whole file, without ETag, date, checksum or ranges."""
    return Response(content, media_type="video/mp4", headers={"x-oss-request-id": request_id})


def missing(request_id: str) -> Response:
    """Return the error for a file that does not exist."""
    return xml_error(404, "NoSuchKey", "The specified key does not exist.", request_id)


def expired(request_id: str) -> Response:
    """Return the error for a URL that has expired."""
    return xml_error(403, "AccessDenied", "Request has expired.", request_id)


def xml_error(status: int, code: str, message: str, request_id: str) -> Response:
    """Return an error as OSS's XML."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n'
        f"  <Code>{escape(code)}</Code>\n  <Message>{escape(message)}</Message>\n"
        f"  <RequestId>{escape(request_id)}</RequestId>\n</Error>\n"
    )
    return Response(body, status_code=status, media_type="application/xml")


def _span(range_header: str, size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive) of a Range header.

    :returns: None if RFC 9110 allows a server to ignore the header; OSS then sends the whole file.
    """
    match = _RANGE.fullmatch(range_header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        return (max(0, size - length), size) if length else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
