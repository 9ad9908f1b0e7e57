"""Makes names of files from ids, for every file system and object store."""

from __future__ import annotations

import hashlib
import re

_MAX_ID_CHARS = 150
"""An id takes up at most so many characters of a name."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_name(name: str) -> str:
    """Return an id as a file name that is short and safe in every file system and object store.

    An id that had to be changed gets a digest at its end, so that two ids never have one name.

    :param name: the id.
    """
    safe = _UNSAFE.sub("_", name).strip(".")[:_MAX_ID_CHARS] or "_"
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return safe if safe == name else f"{safe}-{digest}"
