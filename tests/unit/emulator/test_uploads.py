"""DashScope's temporary store, with a valid key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_wan.emulator import uploads

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

MODEL = "wan2.7-i2v"
RESOLVE = {"X-DashScope-OssResourceResolve": "enable"}


def policy(http: httpx.Client, model: str = MODEL) -> dict[str, Any]:
    answer = http.get("/api/v1/uploads", params={"action": "getPolicy", "model": model})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def form(granted: dict[str, Any], name: str = "frame.png", **changed: str) -> dict[str, str]:
    return {
        "OSSAccessKeyId": granted["oss_access_key_id"],
        "Signature": granted["signature"],
        "policy": granted["policy"],
        "key": f"{granted['upload_dir']}/{name}",
        "x-oss-object-acl": granted["x_oss_object_acl"],
        "x-oss-forbid-overwrite": granted["x_oss_forbid_overwrite"],
        "success_action_status": "200",
    } | changed


def post(granted: dict[str, Any], content: bytes, **changed: str) -> httpx.Response:
    files = {"file": ("frame.png", content)}
    return httpx.post(granted["upload_host"], data=form(granted, **changed), files=files, verify=False)


@pytest.fixture
def frame(media: Any) -> bytes:
    folder: Path = media._directory
    return (folder / "first.png").read_bytes()


@pytest.fixture
def uploaded(http: httpx.Client, frame: bytes) -> str:
    granted = policy(http)
    assert post(granted, frame).status_code == 200
    return f"oss://{granted['upload_dir']}/frame.png"


def body(url: str) -> dict[str, Any]:
    return {
        "model": MODEL,
        "input": {"prompt": "a kite", "media": [{"type": "first_frame", "url": url}]},
        "parameters": {"resolution": "720P", "duration": 2},
    }


def ended(dashscope: Any, url: str, headers: dict[str, str]) -> dict[str, Any]:
    created = dashscope.create(body(url), **headers).json()
    return dict(dashscope.ended(created["output"]["task_id"])["output"])


def test_a_file_uploaded_for_a_model_becomes_its_video(dashscope: Any, uploaded: str) -> None:
    assert ended(dashscope, uploaded, RESOLVE)["task_status"] == "SUCCEEDED"


def test_an_oss_url_is_not_resolved_without_the_header(dashscope: Any, uploaded: str) -> None:
    output = ended(dashscope, uploaded, {})

    assert (output["task_status"], output["code"]) == ("FAILED", "InvalidURL")


def test_a_file_is_for_the_model_it_was_uploaded_for(dashscope: Any, http: httpx.Client, frame: bytes) -> None:
    granted = policy(http, "wan2.7-r2v")
    post(granted, frame)

    assert ended(dashscope, f"oss://{granted['upload_dir']}/frame.png", RESOLVE)["code"] == "InvalidURL"


def test_a_file_is_for_the_key_it_was_uploaded_with(
    wan_emulator: RunningEmulator, dashscope: Any, frame: bytes
) -> None:
    other = {"Authorization": "Bearer sk-somebody-else-0123456789"}
    with httpx.Client(base_url=wan_emulator.base_url, headers=other, verify=False) as stranger:
        granted = policy(stranger)
        post(granted, frame)

    assert ended(dashscope, f"oss://{granted['upload_dir']}/frame.png", RESOLVE)["code"] == "InvalidURL"


def test_a_file_is_kept_for_48_hours(wan_emulator: RunningEmulator, dashscope: Any, uploaded: str) -> None:
    wan_emulator.advance_clock(48 * 3600 - 60)
    before = ended(dashscope, uploaded, RESOLVE)
    wan_emulator.advance_clock(61)
    after = ended(dashscope, uploaded, RESOLVE)

    assert (before["task_status"], after["task_status"]) == ("SUCCEEDED", "FAILED")


def test_apiyi_does_not_resolve_oss_urls(apiyi: Any, uploaded: str) -> None:
    task_id = apiyi.create(body(uploaded), **RESOLVE).json()["output"]["task_id"]

    assert apiyi.ended(task_id)["error"]["message"].startswith("[InvalidImageUrl]")


def test_a_policy_needs_a_valid_key_and_a_model(
    wan_emulator: RunningEmulator, http: httpx.Client, web: httpx.Client
) -> None:
    url = f"{wan_emulator.base_url}/api/v1/uploads"

    assert web.get(url, params={"action": "getPolicy", "model": MODEL}).json()["code"] == "InvalidApiKey"
    assert http.get("/api/v1/uploads", params={"action": "getPolicy"}).json()["code"] == "InvalidParameter"
    assert http.get("/api/v1/uploads", params={"model": MODEL}).json()["code"] == "InvalidParameter"


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"Signature": "AAAA"}, 403, "SignatureDoesNotMatch"),
        ({"policy": "e30="}, 403, "SignatureDoesNotMatch"),
        ({"OSSAccessKeyId": "LTAIwrong"}, 403, "InvalidAccessKeyId"),
        ({"key": "elsewhere/frame.png"}, 403, "AccessDenied"),
        ({"x-oss-forbid-overwrite": "false"}, 403, "AccessDenied"),
        ({"x-oss-object-acl": "public-read"}, 403, "AccessDenied"),
    ],
)
def test_a_form_that_differs_from_its_policy_is_refused_in_xml(
    wan_emulator: RunningEmulator, http: httpx.Client, changed: dict[str, str], status: int, code: str
) -> None:
    answer = post(policy(http), b"content", **changed)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/xml")
    assert f"<Code>{code}</Code>" in answer.text
    assert wan_emulator.uploads() == []


def test_each_policy_has_a_folder_of_its_own_and_figures_that_are_numbers(http: httpx.Client) -> None:
    first, second = policy(http), policy(http)

    assert first["upload_dir"] != second["upload_dir"]
    assert first["upload_dir"].rpartition("/")[0] == second["upload_dir"].rpartition("/")[0]
    for name in ("expire_in_seconds", "max_file_size_mb", "capacity_limit_mb"):
        assert isinstance(first[name], int)


def test_nothing_is_overwritten(http: httpx.Client, wan_emulator: RunningEmulator) -> None:
    granted = policy(http)
    post(granted, b"first")
    again = post(granted, b"second, by the same policy")

    assert (again.status_code, "<Code>FileAlreadyExists</Code>" in again.text) == (409, True)
    assert [row["bytes"] for row in wan_emulator.uploads()] == [5]


def test_the_file_must_come_last(http: httpx.Client) -> None:
    granted = policy(http)
    fields = {name: (None, value) for name, value in form(granted).items()}
    late_key = {name: fields[name] for name in fields if name != "key"}
    files: dict[str, Any] = {**late_key, "file": ("frame.png", b"content"), "key": fields["key"]}

    assert "<Code>InvalidArgument</Code>" in httpx.post(granted["upload_host"], files=files, verify=False).text


@pytest.mark.parametrize(
    "sent",
    [
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}},
        {"files": [("file", ("a.png", b"one")), ("file", ("b.png", b"two"))]},
    ],
    ids=["not well-formed", "no boundary", "two files"],
)
def test_a_form_that_cannot_be_read_is_refused_in_xml(http: httpx.Client, sent: dict[str, Any]) -> None:
    answer = httpx.post(policy(http)["upload_host"], verify=False, **sent)

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/xml")
    assert "<Code>MalformedPOSTRequest</Code>" in answer.text


def test_the_store_refuses_the_gateways_key(http: httpx.Client) -> None:
    granted = policy(http)

    answer = http.post(granted["upload_host"], data=form(granted), files={"file": b"content"})

    assert "<Code>SignatureDoesNotMatch</Code>" in answer.text


def test_a_policy_expires(wan_emulator: RunningEmulator, http: httpx.Client) -> None:
    granted = policy(http)
    wan_emulator.advance_clock(float(granted["expire_in_seconds"]) + 1)

    answer = post(granted, b"content")

    assert (answer.status_code, "Policy expired" in answer.text) == (403, True)


def test_a_file_beyond_the_limit_is_refused(
    http: httpx.Client, wan_emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_LARGEST_FILE_MB", 1)
    granted = policy(http)

    answer = post(granted, bytes(int(granted["max_file_size_mb"]) * 1024 * 1024 + 1))

    assert "<Code>EntityTooLarge</Code>" in answer.text
    assert wan_emulator.uploads() == []


def test_uploads_are_forgotten_with_the_rest(wan_emulator: RunningEmulator, uploaded: str) -> None:
    assert [row["url"] for row in wan_emulator.uploads()] == [uploaded]

    wan_emulator.reset()

    assert wan_emulator.uploads() == []
