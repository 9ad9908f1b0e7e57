"""Files are opened, compared and sent with constant memory, and an exchange of a file at the last moment is noticed."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan import config
from airflow_wan.pages import files
from airflow_wan.pages.files import PIECE_BYTES, NotShown, Wanted, open_file, problem_of, type_of, why_not_shown

if TYPE_CHECKING:
    from pathlib import Path

VIDEO = b"\x00\x00\x00\x18ftypisom" + bytes(100)


def wanted(path: object, content: bytes = VIDEO) -> Wanted:
    return Wanted(str(path), f"sha256:{hashlib.sha256(content).hexdigest()}")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder whose files may be shown."""
    folder = tmp_path / "videos"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(folder))
    return folder


def test_a_large_file_is_compared_and_sent_with_constant_memory(base: Path) -> None:
    with (base / "large.mp4").open("wb") as file:
        file.write(VIDEO)
        file.truncate(200 * 1024**2)
    with (base / "large.mp4").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    gc.collect()
    tracemalloc.start()
    try:
        served = open_file(Wanted(str(base / "large.mp4"), f"sha256:{digest}"))
        sent = sum(len(piece) for piece in served.pieces(0, served.size))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sent == 200 * 1024**2
    assert peak < 5 * PIECE_BYTES


def test_a_link_that_is_changed_between_the_look_and_the_opening_leads_nowhere(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, folder = tmp_path / "secret", base / "day"
    secret.mkdir()
    (secret / "clip.mp4").write_bytes(VIDEO)
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(VIDEO)
    opened: list[str] = []
    really_open = os.open

    def swap_and_open(path: Any, *flags: Any) -> int:
        if str(path).endswith("clip.mp4"):
            folder.rename(base / "night")
            folder.symlink_to(secret)
            opened.append(str(path))
        return really_open(path, *flags)

    monkeypatch.setattr(files.os, "open", swap_and_open)
    with pytest.raises(NotShown) as raised:
        open_file(wanted(folder / "clip.mp4"))

    assert raised.value.problem == "not_allowed"
    assert opened == [str(folder / "clip.mp4")]


def test_a_file_that_becomes_shorter_while_it_is_sent_breaks_the_transfer(base: Path) -> None:
    path = base / "clip.mp4"
    path.write_bytes(VIDEO)
    served = open_file(wanted(path))
    os.truncate(path, 10)

    with pytest.raises(OSError, match="shorter"):
        list(served.pieces(0, served.size))


def test_a_file_is_read_once_to_compare_its_digest(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = base / "clip.mp4"
    path.write_bytes(VIDEO)
    it = wanted(path)
    assert problem_of(it) is None

    monkeypatch.setattr(files.hashlib, "sha256", None)
    assert files._has_digest(files._open(str(path)), it)


@pytest.mark.parametrize("digest", [None, "", "sha256:", "etag:abc", "md5:abc", "sha256:" + "0" * 64])
def test_a_file_of_which_no_digest_is_known_is_not_shown(base: Path, digest: str | None) -> None:
    (base / "clip.mp4").write_bytes(VIDEO)

    assert problem_of(Wanted(str(base / "clip.mp4"), digest)) == "replaced"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("https://example.com/a.mp4", "elsewhere"),
        ("data:image/png;base64,AAAA", "elsewhere"),
        ("/etc/passwd", "not_allowed"),
        ("{base}/gone.mp4", None),
    ],
)
def test_whether_a_file_may_be_shown_is_told_without_a_look_at_it(base: Path, path: str, problem: str | None) -> None:
    assert why_not_shown(wanted(path.replace("{base}", str(base)))) == problem


@pytest.mark.parametrize("content", [b"GIF89a" + bytes(20), b"II*\x00" + bytes(20), b"\x00\x00\x00\x18ftypheic"])
def test_a_file_of_a_type_that_is_not_shown_is_not_said_to_be_outside_the_bases(base: Path, content: bytes) -> None:
    (base / "frame.img").write_bytes(content)

    assert problem_of(wanted(base / "frame.img", content)) == "unknown_type"


@pytest.mark.parametrize(("value", "problem"), [([""], "not_allowed"), ([" "], "not_allowed"), (["/"], None)])
def test_a_preview_base_without_a_name_allows_nothing_and_the_root_allows_all(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: list[str], problem: str | None
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "clip.mp4").write_bytes(VIDEO)
    monkeypatch.chdir(tmp_path / "server")
    monkeypatch.setenv("AIRFLOW__WAN__PREVIEW_BASES", json.dumps(value))

    assert problem_of(wanted(tmp_path / "server" / "clip.mp4")) == problem


@pytest.mark.parametrize(("value", "bases"), [("", []), ('["/a", "s3://b/c"]', ["/a", "s3://b/c"])])
def test_preview_bases(value: str, bases: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__PREVIEW_BASES", value)

    assert config.preview_bases() == bases


@pytest.mark.parametrize("value", ["/a, /b", "[1]", '{"a": 1}', "[", "7", '"/a"'])
def test_preview_bases_that_are_no_list_count_as_none(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__PREVIEW_BASES", value)

    assert config.preview_bases() == []
    assert "preview_bases is ignored" in caplog.text


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"\x00\x00\x00\x18ftypqt  ", "video/quicktime"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypavif", "image/avif"),
        (b"\x00\x00\x00\x18ftypavis", "image/avif"),
        (b"\x00\x00\x00\x18ftypheic", None),
        (b"\x00\x00\x00\x18ftypmif1", None),
        (b"GIF89a", None),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xe3\x18", "audio/mpeg"),  # speech with 8,000 samples a second
        (b"<svg xmlns=", None),
        (b"<!doctype html>", None),
        (b"{", None),
        (b"", None),
    ],
)
def test_the_type_of_a_file_is_that_of_its_content(head: bytes, media_type: str | None) -> None:
    assert type_of(head) == media_type
