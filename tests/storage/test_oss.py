"""``oss://``, the file system that this provider adds to Airflow."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from oss_server import KEYS, OssServer
from PIL import Image

from airflow_wan.operators.wan import WanImageToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import RunningEmulator


@pytest.mark.takes_time
def test_an_image_is_read_from_a_bucket_by_signed_url_and_the_video_written_to_it(
    oss: OssServer, wan_emulator: RunningEmulator, connect: Callable[..., None], runner: Any
) -> None:
    connect(wan_emulator.base_url, gateway="apiyi")
    image = io.BytesIO()
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(image, "PNG")
    oss.objects["films/in/frame.png"] = image.getvalue()
    task = WanImageToVideoOperator(
        task_id="animate",
        prompt="The clouds drift.",
        first_frame="oss://oss_default@films/in/frame.png",
        duration=2,
        output_path="oss://oss_default@films/out/film.mp4",
        poll_interval=0.05,
        timeout=1800,
    )

    assert runner.run(task) == "oss://oss_default@films/out/film.mp4"

    (bill,) = wan_emulator.ledger()
    assert bill["billed"]
    assert oss.objects["films/out/film.mp4"][4:8] == b"ftyp"
    assert oss.signed_for
    assert min(oss.signed_for) > 1800
    record = oss.objects["films/out/film.mp4.json"].decode()
    assert json.loads(record)["sources"][0]["digest"].startswith("etag:")
    for secret in ("oss-test-secret", "Signature", "LTAI-test"):
        assert secret not in record + json.dumps(runner.instance.xcoms) + repr(runner.trigger_kwargs)

    runner.run(task)
    assert len(wan_emulator.ledger()) == 1


def test_a_region_is_enough_to_sign_a_public_url(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_wan.fs.oss import get_fs

    monkeypatch.setenv(
        "AIRFLOW_CONN_OSS_DEFAULT", json.dumps({"conn_type": "oss", "extra": KEYS | {"region": "cn-beijing"}})
    )

    url = urlsplit(get_fs(None).sign("films/in/a frame.png", expiration=5000))

    assert (url.scheme, url.hostname) == ("https", "films.oss-cn-beijing.aliyuncs.com")
    assert url.path == "/in/a%20frame.png"
    assert {"OSSAccessKeyId", "Expires", "Signature"} <= parse_qs(url.query).keys()


def test_a_connection_without_region_and_endpoint_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_wan.fs.oss import get_fs

    monkeypatch.setenv("AIRFLOW_CONN_OSS_DEFAULT", json.dumps({"conn_type": "oss", "extra": KEYS}))

    with pytest.raises(ValueError, match="neither a region nor an endpoint"):
        get_fs(None)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_wan.fs.oss import get_fs

    monkeypatch.setitem(sys.modules, "ossfs", None)

    with pytest.raises(ImportError, match=r"airflow-provider-wan\[oss\]"):
        get_fs(None)
