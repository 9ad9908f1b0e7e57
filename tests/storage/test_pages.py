"""The pages serve videos out of a bucket, piece by piece, and only out of the buckets and folders that are allowed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

if get_base_airflow_version_tuple() < (3, 1):
    pytest.skip("Airflow 3.0 has no pages of plugins", allow_module_level=True)

from page_server import MP4, PageServer, forget_rows, serving, status_of, video_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

BUCKET = "films"
BASE = f"s3://aws_default@{BUCKET}/wan"
LARGE = MP4[:32] + bytes(range(256)) * 4 * 1024 * 3  # 3 MB


@pytest.fixture(scope="module")
def page_client(airflow_db: Path) -> Iterator[TestClient]:
    with serving() as client:
        yield client


@pytest.fixture
def pages(page_client: TestClient, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """Return the pages, which may show one folder of the bucket."""
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__WAN__PREVIEW_BASES", json.dumps([f"{BASE}/"]))
    forget_rows()
    yield PageServer(page_client, tmp_path)
    forget_rows()


def leave(pages: PageServer, s3: Any, key: str, content: bytes = MP4, path: str | None = None) -> str:
    s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    video = video_of(path or f"s3://aws_default@{BUCKET}/{key}", content)
    return pages.leave("film", wan_status=status_of(), wan_video=video)


def test_a_video_in_a_bucket_is_served_whole_and_in_parts(pages: PageServer, s3: Any) -> None:
    where = leave(pages, s3, "wan/day/clip.mp4")

    whole = pages.get(f"file/{where}/video")
    part = pages.get(f"file/{where}/video", Range="bytes=5000-5999")

    assert (whole.status_code, whole.content) == (200, MP4)
    assert whole.headers["content-type"] == "video/mp4"
    assert (part.status_code, part.content) == (206, MP4[5000:6000])
    assert part.headers["content-range"] == f"bytes 5000-5999/{len(MP4)}"
    assert pages.get(f"file/{where}/video", Range="bytes=-7").content == MP4[-7:]
    head = pages.get(f"file/{where}/video", method="HEAD")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(MP4)))
    assert "x-amz" not in str(whole.headers).lower()
    assert f"file/{where}/video" in pages.get(f"video/{where}").text


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("wan/clip.mp4", f"s3://{BUCKET}/wan/clip.mp4"),
        ("wan/clip.mp4", f"s3://other_conn@{BUCKET}/wan/clip.mp4"),
        ("private/clip.mp4", f"s3://aws_default@{BUCKET}/private/clip.mp4"),
        ("wander/clip.mp4", f"s3://aws_default@{BUCKET}/wander/clip.mp4"),
        ("private/clip.mp4", f"{BASE}/../private/clip.mp4"),
        ("private/clip.mp4", f"{BASE}/%2e%2e/private/clip.mp4"),
        ("private/clip.mp4", f"{BASE}//../private/clip.mp4"),
        ("wan/clip.mp4", "s3://aws_default@other/wan/clip.mp4"),
        ("wan/clip.mp4", f"s3a://aws_default@{BUCKET}/wan/clip.mp4"),
    ],
)
def test_nothing_else_of_a_store_is_served(pages: PageServer, s3: Any, key: str, path: str) -> None:
    where = leave(pages, s3, key, path=path)

    answer = pages.get(f"file/{where}/video")

    assert (answer.status_code, answer.json()) == (404, {"detail": "not_allowed"})
    assert "[wan] preview_bases" in pages.get(f"video/{where}").text


def test_another_object_at_the_same_key_is_not_taken_for_the_video(pages: PageServer, s3: Any) -> None:
    where = leave(pages, s3, "wan/clip.mp4")
    assert pages.get(f"file/{where}/video").status_code == 200

    s3.put_object(Bucket=BUCKET, Key="wan/clip.mp4", Body=MP4[:-1] + b"x")

    assert pages.get(f"file/{where}/video").json() == {"detail": "replaced"}


def test_an_object_that_is_gone_and_a_store_that_is_away_are_told_apart(
    pages: PageServer, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = leave(pages, s3, "wan/clip.mp4")
    s3.delete_object(Bucket=BUCKET, Key="wan/clip.mp4")
    assert pages.get(f"file/{where}/video").json() == {"detail": "not_found"}

    def no_answer(*_: Any, **__: Any) -> None:
        raise PermissionError("AKIAIOSFODNN7EXAMPLE may not do that at https://s3.example/?X-Amz-Signature=abc")

    monkeypatch.setattr("airflow_wan.pages.files._open_stored", no_answer)
    answer = pages.get(f"file/{where}/video")
    page = pages.get(f"video/{where}").text

    assert answer.json() == {"detail": "not_reachable"}
    assert "The API server cannot read the store of the file" in page
    assert not [secret for secret in ("AKIA", "X-Amz", "s3.example") if secret in page]


def test_a_medium_is_shown_if_it_is_still_the_same_object(pages: PageServer, s3: Any) -> None:
    etag = s3.put_object(Bucket=BUCKET, Key="wan/frame.png", Body=b"\x89PNG\r\n\x1a\n" + bytes(50))["ETag"].strip('"')
    source = {"role": "first_frame", "url": f"{BASE}/frame.png", "digest": f"etag:{etag}"}
    where = pages.leave("film", wan_status=status_of(sources=[source]))

    answer = pages.get(f"file/{where}/media-0")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    s3.put_object(Bucket=BUCKET, Key="wan/frame.png", Body=b"\x89PNG\r\n\x1a\n" + bytes(51))
    assert pages.get(f"file/{where}/media-0").status_code == 404


def test_a_large_video_is_sent_piece_by_piece(pages: PageServer, s3: Any) -> None:
    from airflow_wan.pages.files import PIECE_BYTES, Wanted, open_file

    s3.put_object(Bucket=BUCKET, Key="wan/large.mp4", Body=LARGE)
    served = open_file(Wanted(f"{BASE}/large.mp4", f"sha256:{hashlib.sha256(LARGE).hexdigest()}"))
    pieces = list(served.pieces(0, served.size))

    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) == PIECE_BYTES
