"""What an author's path or URI means: one spelling for each place, and an error for what can never be a place.

========================================= ===========================================
what authors write                        what it is here
========================================= ===========================================
``/data/clip.mp4``                        itself
``file:///data/clip.mp4``, ``file:/data`` a local path, percent-decoded
``file://localhost/data/clip.mp4``        the same
``S3://conn_id@bucket/key.mp4``           ``s3://conn_id@bucket/key.mp4``
``s3:/bucket/key.mp4``, ``s3://bucket``   an error: a mistyped URI, a bucket without a key
``https://…``                             an error: nothing can be written there
========================================= ===========================================
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from airflow_wan.net.stores import STORE_PACKAGES

# One letter is no scheme: "C:clip.mp4" is a name.
_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):(?P<slashes>/*)", re.IGNORECASE)
_NOT_WRITABLE = ("http", "https", "data")

# A control character, or half of a character, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# What is written like a URI, and would otherwise be a folder of that name: "s3 ://bucket/key", also with a wide colon,
# and "arn:aws:s3:::bucket/key".
_LIKE_A_URI = re.compile(r"[^/]*[:\uff1a]\s*//|arn:", re.IGNORECASE)
_SEPARATOR = re.compile(r"[/\\]")

# What file systems allow for each name and S3 for a key, and what the longest name beside the video adds: ".rejected".
MAX_NAME_BYTES = 255
_MAX_KEY_BYTES = 1024
_MAX_ADDED_BYTES = len(".rejected")


def is_object(address: str) -> bool:
    """Return whether an address is a URI of an object store, such as ``s3://bucket/key``, and not a local path."""
    found = _URI.match(address)
    return found is not None and found["slashes"].startswith("//") and found["scheme"].lower() != "file"


def is_relative(address: str) -> bool:
    """Return whether an address is a path without its beginning; a mistyped URI is not relative to anything."""
    return not address.startswith("/") and _uri(address) is None


def is_like_a_uri(path: str) -> bool:
    """Return whether a relative path was surely meant as a URI."""
    return _LIKE_A_URI.match(path) is not None


def leads_up(path: str) -> bool:
    """Return whether a part of a path is ``..``; a store may take an escaped part for what it stands for."""
    return ".." in _SEPARATOR.split(unquote(unquote(path)))


def read_address(address: str) -> str:
    """Return an address in its one spelling: a local path without ``file:``, or a URI with its scheme in lower case.

    :param address: a path or a URI.
    :raises ValueError: when nothing can be written there; its text ends a sentence that begins with the address.
    """
    uri = _uri(address)
    if uri is None:
        return _checked_path(address)
    scheme, rest = uri["scheme"].lower(), address[uri.end("scheme") + 1 :]
    if scheme == "file":
        return _checked_path(_path_of_file_uri(rest))
    if scheme in _NOT_WRITABLE:
        raise ValueError(f"cannot be written to: {scheme}: is no file system or object store")
    if not rest.startswith("//"):
        raise ValueError(f"is no path and no URI: a URI begins with {scheme}://")
    return f"{scheme}://{_checked_object(rest.removeprefix('//'))}"


def _uri(address: str) -> re.Match[str] | None:
    """Return the beginning of a URI, correct or mistyped; None for a path, in whose names there may be colons."""
    found = _URI.match(address)
    if found is None:
        return None
    is_known = found["scheme"].lower() in {*STORE_PACKAGES, *_NOT_WRITABLE, "file"}
    return found if found["slashes"] or is_known else None


def _path_of_file_uri(rest: str) -> str:
    host, slash, path = rest.removeprefix("//").partition("/") if rest.startswith("//") else ("", rest[:1], rest[1:])
    if slash != "/" or host.lower() not in ("", "localhost"):
        raise ValueError("cannot be written to: a file URI needs three slashes (file:///folder/…)")
    return unquote(f"/{path}")


def _checked_path(path: str) -> str:
    _check_characters(path)
    if path.rpartition("/")[2] in ("", ".", ".."):
        raise ValueError("does not end with the name of a file")
    if any(len(os.fsencode(name)) > MAX_NAME_BYTES - _MAX_ADDED_BYTES for name in path.split("/")):
        raise ValueError(f"has a name of more than {MAX_NAME_BYTES - _MAX_ADDED_BYTES} bytes in it")
    return path


def _checked_object(rest: str) -> str:
    """Return what is behind the ``://`` of an object's URI."""
    _check_characters(rest)
    bucket, _, key = rest.partition("/")
    if not bucket.rpartition("@")[2]:
        raise ValueError("names no bucket")
    if not key.strip("/"):
        raise ValueError("names a bucket without a key: end it with a slash for a key of the task's own")
    if len(key.encode()) > _MAX_KEY_BYTES - _MAX_ADDED_BYTES:
        raise ValueError(f"has more than {_MAX_KEY_BYTES - _MAX_ADDED_BYTES} bytes behind the bucket")
    if leads_up(rest):
        raise ValueError("must not have '..' in it: it would lead to another object")
    return rest


def _check_characters(text: str) -> None:
    if _UNPRINTABLE.search(text):
        raise ValueError("has a control character or half a character in it")
