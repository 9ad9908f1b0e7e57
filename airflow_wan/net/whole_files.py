"""Writes files that are whole or not there at all, also after a power cut."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; a disk that is full or fails is an error here, and not only when the file is read.

    :raises OSError: when it could not be written whole.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_whole(path: Path, content: bytes, *, draft: Path) -> None:
    """Put a file in the place of the one that is there, in one step.

    :param path: where it goes.
    :param content: its content.
    :param draft: a path in the same folder that nobody else uses; nothing stays there.
    :raises OSError: when the file may not be there.
    """
    try:
        write_whole(draft, content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    write_out_folder(path.parent)


def write_out_folder(folder: Path) -> None:
    """Write a folder out to the disk, so that a new name in it outlives a power cut; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
