"""The part of Alibaba's OSS that its clients need for a few objects: put, get, by signed URL too, delete, list.

It follows OSS's API reference (PutObject, GetObject, DeleteObject, ListObjects, GetBucketInfo). It does not check
signatures; it records for how long a signed URL was still valid.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEYS = {"auth_type": "AK", "access_key_id": "LTAI-test", "access_key_secret": "oss-test-secret"}
"""The extra of a connection to it, without its endpoint."""


class OssServer:
    """Buckets of objects over loopback http. Paths begin with the bucket, as `oss2` sends them to an IP address.

    :ivar objects: the content of each object by ``bucket/key``.
    :ivar signed_for: for each download by a signed URL, the seconds for which that URL was still valid.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.signed_for: list[float] = []

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": self}))
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def listing(self, bucket: str, prefix: str) -> bytes:
        """Return OSS's list of the objects whose names begin with `prefix`."""
        names = [name.partition("/")[2] for name in self.objects if name.startswith(f"{bucket}/{prefix}")]
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-25T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_etag(self.objects[f'{bucket}/{name}']))}</ETag><Type>Normal</Type>"
            f"<Size>{len(self.objects[f'{bucket}/{name}'])}</Size><StorageClass>Standard</StorageClass></Contents>"
            for name in names
        )
        return (
            f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()
        )


class _Handler(BaseHTTPRequestHandler):
    store: OssServer

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("x-oss-forbid-overwrite") == "true" and self._name() in self.store.objects:
            self._answer(409, b"<Error><Code>FileAlreadyExists</Code><Message>it is there</Message></Error>")
            return
        self.store.objects[self._name()] = content
        self._answer(200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        bucket, _, key = self._name().partition("/")
        if "bucketInfo" in query:
            self._answer(200, _bucket_info(bucket))
        elif not key:
            self._answer(200, self.store.listing(bucket, query.get("prefix", [""])[0]))
        elif (content := self.store.objects.get(f"{bucket}/{key}")) is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        else:
            self._send_object(content, query)

    def do_DELETE(self) -> None:
        self.store.objects.pop(self._name(), None)
        self._answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_object(self, content: bytes, query: dict[str, list[str]]) -> None:
        if "Signature" in query:
            self.store.signed_for.append(float(query["Expires"][0]) - time.time())
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            self._answer(200, content, ETag=_etag(content), Last_Modified="Wed, 25 Nov 2026 00:00:00 GMT")
            return
        start, end = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
        content_range = f"bytes {start}-{end}/{len(content)}"
        self._answer(206, content[start : end + 1], ETag=_etag(content), Content_Range=content_range)

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("x-oss-request-id", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


def _bucket_info(bucket: str) -> bytes:
    return (
        f"<BucketInfo><Bucket><Name>{bucket}</Name><CreationDate>2026-11-25T00:00:00.000Z</CreationDate>"
        "<StorageClass>Standard</StorageClass><Location>oss-cn-beijing</Location><Owner><ID>1</ID>"
        "<DisplayName>1</DisplayName></Owner><AccessControlList><Grant>private</Grant></AccessControlList>"
        "<ExtranetEndpoint>e</ExtranetEndpoint><IntranetEndpoint>i</IntranetEndpoint></Bucket></BucketInfo>"
    ).encode()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest().upper()}"'
