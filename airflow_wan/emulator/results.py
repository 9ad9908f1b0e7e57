"""Result files behind signed URLs, answered as Alibaba's object store (OSS) answers them."""

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
"""A way to answer for a file; see `serve`."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Signer:
    """Signs result paths the way OSS does: HMAC-SHA1 over verb, expiry and path, with a secret of this process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def url(self, base: str, path: str, expires_at: float) -> str:
        """Return a signed URL; no two calls return the same."""
        access_key_id = f"LTAI{secrets.token_hex(8)}"
        expires = str(int(expires_at))
        query = {
            "Expires": expires,
            "OSSAccessKeyId": access_key_id,
            "Signature": self._sign("GET", path, access_key_id, expires),
        }
        return f"{base}{quote(path)}?{urlencode(query)}"

    def is_genuine(self, request: Request) -> bool:
        """Tell whether the request carries a signature made for its verb and path."""
        query = request.query_params
        expected = self._sign(
            request.method, request.url.path, query.get("OSSAccessKeyId", ""), query.get("Expires", "")
        )
        return hmac.compare_digest(expected.encode(), query.get("Signature", "").encode())

    def _sign(self, verb: str, path: str, access_key_id: str, expires: str) -> str:
        text = f"{verb}\n\n\n{expires}\n{access_key_id}\n{path}"
        return base64.b64encode(hmac.new(self._secret, text.encode(), hashlib.sha1).digest()).decode()


def refuse(request: Request, signer: Signer, now: float, request_id: str) -> Response | None:
    """Return OSS's refusal of a request for a result, or None when it may be served."""
    query = request.query_params
    if "Signature" not in query:
        return xml_error(403, "AccessDenied", "You have no right to access this object.", request_id)
    if "authorization" in request.headers or not signer.is_genuine(request):
        # APIYI docs: a download that carries the API key gets exactly this.
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
    """Answer with a file or with the part of it that was asked for."""
    digest = hashlib.md5(content, usedforsecurity=False)
    etag = f'"{digest.hexdigest().upper()}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": "video/mp4",
        "ETag": etag,
        "Last-Modified": formatdate(modified_at, usegmt=True),
        # Of the whole object, whatever part of it is sent (OSS docs, "Data verification").
        "x-oss-hash-crc64ecma": str(crc64.xz(content)),
        "x-oss-request-id": request_id,
    }
    wanted = request.headers.get("range")
    span = _span(wanted, len(content)) if wanted and request.headers.get("if-range", etag) == etag else None
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
    """Answer with another file: the same film, and an empty mp4 box behind it."""
    return serve(request, content + b"\0\0\0\x08free", modified_at, request_id)


def serve_bare(request: Request, content: bytes, modified_at: float, request_id: str) -> Response:  # noqa: ARG001
    """Answer with the whole file, and nothing to tell it or its parts by."""
    return Response(content, media_type="video/mp4", headers={"x-oss-request-id": request_id})


def missing(request_id: str) -> Response:
    """Answer for a file that is not there."""
    return xml_error(404, "NoSuchKey", "The specified key does not exist.", request_id)


def expired(request_id: str) -> Response:
    """Answer for a URL whose time is over."""
    return xml_error(403, "AccessDenied", "Request has expired.", request_id)


def xml_error(status: int, code: str, message: str, request_id: str) -> Response:
    """Return an error in OSS's XML."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n'
        f"  <Code>{escape(code)}</Code>\n  <Message>{escape(message)}</Message>\n"
        f"  <RequestId>{escape(request_id)}</RequestId>\n</Error>\n"
    )
    return Response(body, status_code=status, media_type="application/xml")


def _span(wanted: str, size: int) -> tuple[int, int] | None:
    """Return [start, end) of a Range header; None for what RFC 9110 lets a server ignore (OSS sends it all)."""
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        return (max(0, size - length), size) if length else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
