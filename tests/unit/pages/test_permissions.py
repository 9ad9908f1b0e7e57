"""Who gets to see what, over every route: nothing is served that should not be."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from page_server import FOREIGN, JPEG, MP4, READABLE, RUN, failure_of, status_of, video_of

if TYPE_CHECKING:
    from pathlib import Path

    from page_server import PageServer

DIGEST = hashlib.sha256(MP4).hexdigest()
PATH = f"{READABLE}/{quote(RUN, safe='')}/film/-1"
ROUTES = [f"video/{PATH}", f"sheet/{READABLE}/{quote(RUN, safe='')}", "gallery", f"file/{PATH}/video", "static/wan.css"]


def leave_clip(pages: PageServer, **where: Any) -> str:
    return pages.leave("film", wan_status=status_of(), wan_video=video_of(pages.video()), **where)


def test_every_route_is_in_this_file(pages: PageServer) -> None:
    from airflow_wan.pages.app import create_app

    routes = {route.path for route in create_app().routes}  # type: ignore[attr-defined]

    assert {route.partition("/")[2].partition("/")[0] for route in routes} == {
        route.partition("/")[0] for route in ROUTES
    }


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_shown_without_a_login(pages: PageServer, route: str, method: str) -> None:
    leave_clip(pages)

    answer = pages.get(route, user=None, method=method)

    assert answer.status_code in ({401} if method == "GET" or "file" in route or "static" in route else {401, 405})
    assert b"ftyp" not in answer.content


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("user", ["viewer", f"viewer:{READABLE}", "admin"])
def test_who_may_read_the_dag_sees_everything(pages: PageServer, route: str, user: str) -> None:
    leave_clip(pages)

    answer = pages.get(route, user=user)

    assert answer.status_code == 200, answer.text
    if route.startswith(("video", "sheet", "gallery")):
        assert f"file/{READABLE}/{RUN}/film/-1/video?v={DIGEST[:16]}" in answer.text


@pytest.mark.parametrize("route", [route for route in ROUTES if PATH.partition("/")[0] in route])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_user_without_the_dag_sees_nothing_of_it(pages: PageServer, route: str, method: str) -> None:
    leave_clip(pages)

    answer = pages.get(route, user="viewer:other_films", method=method)

    assert answer.status_code in (403, 405)
    assert b"ftyp" not in answer.content


def test_the_gallery_has_only_the_dags_that_the_user_may_read(pages: PageServer) -> None:
    pages.leave("film", wan_status=status_of(prompt="open"), wan_video=video_of(pages.video(), spent_usd=0.25))
    hidden = {
        "wan_status": status_of(prompt="unseen", model="unseen-model"),
        "wan_video": video_of("/x.mp4", spent_usd=9),
    }
    pages.leave("film", dag_id=FOREIGN, **hidden)

    some, every = pages.get("gallery", user=f"viewer:{READABLE}").text, pages.get("gallery", user="viewer").text

    assert "open" in some
    assert "open" in every
    assert "unseen" in every
    assert not [word for word in ("unseen", FOREIGN) if word in some]
    assert pages.get(f"gallery?dag_id={FOREIGN}", user=f"viewer:{READABLE}").status_code == 403
    assert "unseen" not in pages.get("gallery?text=unseen", user=f"viewer:{READABLE}").text.partition("<ul")[2]


def test_a_user_who_may_not_read_xcoms_sees_nothing(pages: PageServer) -> None:
    leave_clip(pages)

    assert {pages.get(route, user="blind").status_code for route in ROUTES[:4]} == {403}


def test_the_cookie_of_a_session_counts_as_a_token_does(pages: PageServer) -> None:
    from page_server import token_of

    leave_clip(pages)
    pages.client.cookies.set("_token", token_of("viewer"))

    assert pages.get(f"file/{PATH}/video", user=None).content == MP4


# --------------------------------------------------------------------------------------------------------------------
# What somebody has written into an XCom


FORGED = {
    "a file of the system": "/etc/passwd",
    "the environment of the server": "/proc/self/environ",
    "the memory of the server": "/proc/self/mem",
    "a device": "/dev/zero",
    "a way up": "{base}/../outside.mp4",
    "a way up in percent": "{base}/%2e%2e/outside.mp4",
    "a file URI": "file:///etc/passwd",
    "a file URI of the folder's neighbour": "file://{base}/../outside.mp4",
    "a file URI with a host": "file://evil.example/etc/passwd",
    "a link out of the folder": "{base}/link.mp4",
    "a folder that is a link out": "{base}/folder/outside.mp4",
    "a name that begins alike": "{base}-private/outside.mp4",
    "the folder itself": "{base}",
    "a relative path": "clip.mp4",
    "metadata of a cloud": "http://169.254.169.254/latest/meta-data/",
    "a web address": "https://example.com/clip.mp4",
    "a web address in capitals": "HTTP://169.254.169.254/",
    "another bucket": "s3://aws_default@other-bucket/clip.mp4",
    "a connection of another kind": "s3://postgres_default@bucket/clip.mp4",
    "a memory file system": "memory://bucket/clip.mp4",
    "inline data": "data:video/mp4;base64,AAAA",
    "a null character": "{base}/clip\0.mp4",
    "nothing": "",
    "a very long path": "{base}/" + "a" * 3000,
    "a pipe": "{base}/pipe",
}


@pytest.mark.parametrize("path", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("what", ["video", "poster", "rejected", "media-0"])
def test_a_path_that_somebody_has_written_into_an_xcom_is_not_served(pages: PageServer, path: str, what: str) -> None:
    outside = pages.base.parent / "outside.mp4"
    outside.write_bytes(MP4)
    (pages.base / "link.mp4").symlink_to(outside)
    (pages.base / "folder").symlink_to(pages.base.parent, target_is_directory=True)
    private = pages.base.parent / f"{pages.base.name}-private"
    private.mkdir()
    (private / "outside.mp4").write_bytes(MP4)
    os.mkfifo(pages.base / "pipe")
    path = path.replace("{base}", str(pages.base))
    content = b""
    if path.startswith("/etc/"):
        with open(path, "rb") as file:  # noqa: PTH123 - its digest is no secret
            content = file.read()
    digest = hashlib.sha256(content).hexdigest() if content else DIGEST
    facts: dict[str, Any] = {
        "video": {"wan_video": video_of(path, sha256=digest)},
        "poster": {"wan_video": video_of("/x.mp4", poster=path, poster_sha256=digest)},
        "rejected": {"wan_status": status_of("failed", failure=failure_of(kept_at=path, kept_sha256=digest))},
        "media-0": {"wan_status": status_of(sources=[{"role": "video", "url": path, "digest": f"sha256:{digest}"}])},
    }[what]
    where = pages.leave("film", **{"wan_status": status_of()} | facts)

    answer = pages.get(f"file/{where}/{what}")

    assert answer.status_code == 404
    assert b"ftyp" not in answer.content
    assert b"root:" not in answer.content
    assert len(answer.content) < 100
    page = pages.get(f"video/{where}")
    assert page.status_code == 200
    assert f"{where}/{what}" not in page.text


def test_a_file_of_another_dag_is_not_served_by_its_path_alone(pages: PageServer) -> None:
    foreign = pages.video(MP4 + b"foreign", f"{FOREIGN}/clip.mp4")
    where = pages.leave("film", wan_status=status_of(), wan_video=video_of(foreign))

    assert pages.get(f"file/{where}/video", user=f"viewer:{READABLE}").status_code == 404
    assert pages.get(f"file/{where}/video", user=f"viewer:{READABLE}").json() == {"detail": "replaced"}


def test_a_path_at_which_a_later_run_has_put_its_video_says_so(pages: PageServer) -> None:
    path = pages.video()
    where = pages.leave("film", wan_status=status_of(), wan_video=video_of(path))
    assert pages.get(f"file/{where}/video").content == MP4

    pages.video(MP4 + b"another")

    assert pages.get(f"file/{where}/video").status_code == 404
    assert "A later run has probably put its video there" in pages.get(f"video/{where}").text


@pytest.mark.parametrize(
    "content", [b"<html><script>alert(1)</script></html>", b"<svg onload=alert(1)>", b"%PDF-1.7", b""]
)
def test_only_videos_pictures_and_sounds_are_served(pages: PageServer, content: bytes) -> None:
    path = pages.video(content)
    where = pages.leave("film", wan_status=status_of(), wan_video=video_of(path, content))

    assert pages.get(f"file/{where}/video").status_code == 404


def test_a_link_within_the_folder_and_a_file_of_a_preview_base_are_served(
    pages: PageServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (pages.base / "link.mp4").symlink_to(pages.video())
    where = pages.leave("film", wan_status=status_of(), wan_video=video_of(pages.base / "link.mp4"))
    assert pages.get(f"file/{where}/video").content == MP4

    other = tmp_path / "media" / "clip.mp4"
    other.parent.mkdir()
    other.write_bytes(MP4)
    elsewhere = pages.leave("other", wan_status=status_of(), wan_video=video_of(f"file://{other}"))
    assert pages.get(f"file/{elsewhere}/video").status_code == 404
    monkeypatch.setenv("AIRFLOW__WAN__PREVIEW_BASES", f'["{other.parent}"]')
    assert pages.get(f"file/{elsewhere}/video").content == MP4


BROKEN: dict[str, Any] = {
    "a text": "clip.mp4",
    "a number": 7,
    "a list": [1, 2],
    "nothing": None,
    "an unknown state": {"state": "<script>"},
    "numbers as text": status_of(estimated_usd="a lot"),
    "an endless number": status_of(seconds=1e308),
    "a prompt without end": status_of(prompt="a" * 1_000_000),
    "a list without end": status_of(sources=[{"role": "video", "url": "x"}] * 10_000),
    "a time that is none": status_of(times={"submitted": "yesterday"}),
    "a year that is none": status_of(times={"submitted": "0001-01-01T00:00:00+14:00"}),
    "a request nested without end": status_of(request=[]),
}
deep: Any = "x"
for _ in range(300):
    deep = {"a": deep}
BROKEN["a request nested deep"] = status_of(request=deep)
BROKEN |= {
    f"half a character as {name}": status_of() | video_of("clip.mp4") | {name: "\ud800"}
    for name in ("state", "model", "duration_s", "spent_usd")
}
BROKEN["half a character as an amount that failed"] = status_of(state="failed", estimated_usd="\ud800")
BROKEN["half a character as an amount that failed"]["failure"] = {"billed": True}
BROKEN["half a character"] = status_of(request={"input": {"negative_prompt": "\ud800"}, "parameters": {"\ud800": 1}})


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("key", ["wan_status", "wan_video"])
def test_an_xcom_that_makes_no_sense_breaks_no_page(pages: PageServer, key: str, value: Any) -> None:
    where = pages.leave("film", **{"wan_status": status_of(), "wan_video": video_of(pages.video()), key: value})
    leave_clip(pages, run_id="another")

    for route in (
        f"video/{where}",
        f"sheet/{READABLE}/{quote(RUN, safe='')}",
        "gallery",
        "gallery?text=clouds&state=done",
    ):
        answer = pages.get(route)
        assert answer.status_code == 200
        assert '<script>"' not in answer.text
    assert f"{READABLE}/another/film/-1/video" in pages.get("gallery").text


# --------------------------------------------------------------------------------------------------------------------
# How a file is served


RANGES = {
    "the beginning": ("bytes=0-99", 206, MP4[:100]),
    "one byte": ("bytes=5-5", 206, MP4[5:6]),
    "the rest": ("bytes=100-", 206, MP4[100:]),
    "the end": ("bytes=-10", 206, MP4[-10:]),
    "more than there is": ("bytes=10-999999999999", 206, MP4[10:]),
    "more of the end than there is": ("bytes=-999999999", 206, MP4),
    "behind the end": ("bytes=99999999-", 416, b""),
    "nothing of the end": ("bytes=-0", 416, b""),
    "a huge number": (f"bytes={'9' * 5000}-", 200, MP4),
    "backwards": ("bytes=9-5", 200, MP4),
    "two parts": ("bytes=0-1,4-5", 200, MP4),
    "very many parts": ("bytes=" + ",".join(f"{at}-{at}" for at in range(10_000)), 200, MP4),
    "digits of another kind": ("bytes=0x1-0x9", 200, MP4),
    "another unit": ("pages=1-2", 200, MP4),
    "no number": ("bytes=-", 200, MP4),
    "a minus": ("bytes=--5", 200, MP4),
}


@pytest.mark.parametrize(("asked", "status_code", "content"), RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_parts_of_a_file(pages: PageServer, method: str, asked: str, status_code: int, content: bytes) -> None:
    where = leave_clip(pages)

    answer = pages.get(f"file/{where}/video", method=method, Range=asked)

    assert answer.status_code == status_code
    assert answer.content == (content if method == "GET" else b"")
    if status_code != 416:
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["accept-ranges"] == "bytes"
    if status_code == 206:
        start = MP4.index(content) if len(content) > 1 else 5
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(content) - 1}/{len(MP4)}"


def test_a_file_is_kept_by_the_browser_as_long_as_it_is_the_same(pages: PageServer) -> None:
    where = leave_clip(pages)
    first = pages.get(f"file/{where}/video?v={DIGEST[:16]}")

    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert pages.get(f"file/{where}/video").headers["cache-control"] == "private, no-cache"
    again = {"If-None-Match": first.headers["etag"]}
    assert pages.get(f"file/{where}/video", **again).status_code == 304
    part = {"Range": "bytes=0-9", "If-Range": first.headers["etag"]}
    assert pages.get(f"file/{where}/video", **part).status_code == 206
    assert pages.get(f"file/{where}/video", **part | {"If-Range": '"another"'}).status_code == 200


def test_no_part_of_a_file_is_compressed(pages: PageServer) -> None:
    where = leave_clip(pages)

    answer = pages.get(f"file/{where}/video", **{"Range": "bytes=0-4999", "Accept-Encoding": "gzip"})

    assert answer.headers["content-encoding"] == "identity"
    assert answer.content == MP4[:5000]


def test_a_poster_and_a_rejected_file_are_served(pages: PageServer) -> None:
    poster, rejected = pages.video(JPEG, "clip.jpg"), pages.video(MP4, "clip.rejected.mp4")
    video = video_of(pages.video(), poster=str(poster), poster_sha256=hashlib.sha256(JPEG).hexdigest())
    where = pages.leave("film", wan_status=status_of(), wan_video=video)
    failure = failure_of(kind="VideoRejected", billed=True, kept_at=str(rejected), kept_sha256=DIGEST)
    failed = pages.leave("failed", state="failed", wan_status=status_of("failed", failure=failure))

    answer = pages.get(f"file/{where}/poster")
    assert (answer.content, answer.headers["content-type"]) == (JPEG, "image/jpeg")
    assert pages.get(f"file/{failed}/rejected").content == MP4
    assert "This file was rejected" in pages.get(f"video/{failed}").text
    tiles = pages.get(f"sheet/{READABLE}/{quote(RUN, safe='')}").text
    assert re.findall('class="badge ([a-z]+)"', tiles) == ["rejected", "done"]


@pytest.mark.parametrize(
    "route", [*ROUTES, "gallery?state=x&since=9999-99-99&page=~~~&text=%00", f"file/{PATH}/nothing"]
)
def test_every_answer_keeps_scripts_and_frames_out(pages: PageServer, route: str) -> None:
    leave_clip(pages)

    for user in ("admin", None, "viewer:other_films"):
        headers = pages.get(route, user=user).headers
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "cache-control" in headers


@pytest.mark.parametrize(
    "route",
    [
        f"video/{READABLE}/{quote(RUN, safe='')}/film/99999999999",
        f"video/{READABLE}/{quote(RUN, safe='')}/film/-5",
        f"video/{READABLE}/{quote(RUN, safe='')}/film/x",
        f"file/{PATH}/media-99",
        f"file/{PATH}/media-x",
        f"file/{PATH}/..%2f..%2fetc%2fpasswd",
        "static/..%2fapp.py",
        "static/%2e%2e%2fapp.py",
        "docs",
        "openapi.json",
    ],
)
def test_what_there_is_not_is_not_found(pages: PageServer, route: str) -> None:
    leave_clip(pages)

    assert pages.get(route).status_code == 404


def test_a_task_that_is_not_mapped_has_a_page_as_airflow_names_it(pages: PageServer) -> None:
    leave_clip(pages)

    assert "The clouds drift." in pages.get(f"video/{READABLE}/{quote(RUN, safe='')}/film/%7BMAP_INDEX%7D").text


def test_a_defect_shows_no_trace(pages: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("postgresql://airflow:secret@db/airflow")

    leave_clip(pages)
    monkeypatch.setattr("airflow_wan.pages.views.task_video", fail)
    answer = pages.get(f"video/{PATH}")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
