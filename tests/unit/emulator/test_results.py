from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest
from fastcrc import crc64

if TYPE_CHECKING:
    import httpx

    from airflow_wan.emulator.testing import RunningEmulator


@pytest.fixture
def task_id(apiyi: Any, i2v: Any) -> str:
    task_id = str(apiyi.created(i2v))
    apiyi.ended(task_id)
    return task_id


@pytest.fixture
def url(apiyi: Any, task_id: str) -> str:
    return str(apiyi.poll(task_id)["result_url"])


def oss_error(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    assert answer.headers["content-type"].startswith("application/xml")
    error = ET.fromstring(answer.text)
    assert error.tag == "Error"
    return answer.status_code, error.findtext("Code"), error.findtext("Message")


def test_the_url_is_signed_and_has_the_host_of_the_request(wan_emulator: RunningEmulator, url: str) -> None:
    assert url.startswith(f"{wan_emulator.base_url}/result/")
    assert urlsplit(url).path.endswith(".mp4")
    assert set(parse_qs(urlsplit(url).query)) == {"Expires", "OSSAccessKeyId", "Signature"}


def test_the_url_follows_the_host_header(apiyi: Any, task_id: str) -> None:
    body = apiyi.http.get(f"/v1/tasks/{task_id}", headers={"Host": "wan.example:9000"}).json()

    assert body["result_url"].startswith("http://wan.example:9000/result/")


def test_every_poll_gives_a_fresh_url_of_the_same_file(web: httpx.Client, apiyi: Any, task_id: str) -> None:
    urls = [apiyi.poll(task_id)["result_url"] for _ in range(2)]

    assert urls[0] != urls[1]
    assert web.get(urls[0]).content == web.get(urls[1]).content


def test_a_whole_download_has_size_etag_and_checksums(web: httpx.Client, url: str) -> None:
    answer = web.get(url)

    digest = hashlib.md5(answer.content)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{digest.hexdigest().upper()}"'
    assert answer.headers["content-md5"] == base64.b64encode(digest.digest()).decode()
    assert answer.headers["x-oss-hash-crc64ecma"] == str(crc64.xz(answer.content))


def test_a_download_with_the_api_key_does_not_match_its_signature(web: httpx.Client, url: str) -> None:
    answer = web.get(url, headers={"Authorization": "Bearer sk-emulator-test"})

    assert oss_error(answer)[:2] == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("old_new", [("Signature=", "Signature=x"), ("Expires=", "Expires=9"), ("LTAI", "LTBI")])
def test_a_changed_url_does_not_match_its_signature(web: httpx.Client, url: str, old_new: tuple[str, str]) -> None:
    answer = web.get(url.replace(*old_new))

    assert oss_error(answer)[:2] == (403, "SignatureDoesNotMatch")


def test_the_signature_is_for_get_only(web: httpx.Client, url: str) -> None:
    assert web.head(url).status_code == 403


def test_an_unsigned_url_is_denied(web: httpx.Client, url: str) -> None:
    assert oss_error(web.get(url.partition("?")[0]))[:2] == (403, "AccessDenied")


def test_the_url_expires_after_a_day_and_a_later_url_still_works(
    web: httpx.Client, apiyi: Any, task_id: str, wan_emulator: RunningEmulator
) -> None:
    early = apiyi.poll(task_id)["result_url"]
    wan_emulator.advance_clock(12 * 3600)
    late = apiyi.poll(task_id)["result_url"]
    wan_emulator.advance_clock(12 * 3600)

    assert oss_error(web.get(early)) == (403, "AccessDenied", "Request has expired.")
    assert web.get(late).status_code == 200


def test_a_file_that_does_not_exist_is_no_such_key(web: httpx.Client, wan_emulator: RunningEmulator, url: str) -> None:
    wan_emulator.reset()

    assert oss_error(web.get(url))[:2] == (404, "NoSuchKey")


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-50", -50, None), ("bytes=10-99999999", 10, None)],
)
def test_a_range_is_partial_content(web: httpx.Client, url: str, wanted: str, first: int, last: int | None) -> None:
    whole = web.get(url).content

    answer = web.get(url, headers={"Range": wanted})

    expected = whole[first:] if last is None else whole[first : last + 1]
    start = first % len(whole)
    assert answer.status_code == 206
    assert answer.content == expected
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(whole)}"
    assert "content-md5" not in answer.headers
    assert answer.headers["x-oss-hash-crc64ecma"] == str(crc64.xz(whole))


def test_a_download_resumed_in_pieces_is_the_same_file(web: httpx.Client, url: str) -> None:
    whole = web.get(url)
    etag = whole.headers["etag"]
    middle = len(whole.content) // 2

    head = web.get(url, headers={"Range": f"bytes=0-{middle - 1}", "If-Range": etag})
    tail = web.get(url, headers={"Range": f"bytes={middle}-", "If-Range": etag})

    assert head.content + tail.content == whole.content


def test_if_range_with_another_etag_sends_the_whole_file(web: httpx.Client, url: str) -> None:
    answer = web.get(url, headers={"Range": "bytes=0-99", "If-Range": '"OTHER"'})

    assert answer.status_code == 200
    assert len(answer.content) > 100


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(web: httpx.Client, url: str, wanted: str) -> None:
    size = len(web.get(url).content)

    answer = web.get(url, headers={"Range": wanted})

    assert oss_error(answer)[:2] == (416, "InvalidRange")
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("wanted", ["bytes=9-1", "bytes=-", "chapters=1-2", "bytes=0-1,5-6"])
def test_an_invalid_range_is_ignored(web: httpx.Client, url: str, wanted: str) -> None:
    assert web.get(url, headers={"Range": wanted}).status_code == 200
