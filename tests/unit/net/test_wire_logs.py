"""With every logger at DEBUG, the HTTP libraries show neither keys nor signatures; and they still show the rest."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest
import requests

from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import DASHSCOPE, Account
from airflow_wan.exceptions import WanError
from airflow_wan.net.wire_logs import WIRE_LOGGERS, redact_wire_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "odd/Key+without-prefix/0123456789"
SIGNED = "https://files.example/clip.mp4?Expires=1&Signature=TOPSECRET%3D"


@pytest.fixture
def echo() -> Iterator[str]:
    """A host that redirects to a signed URL and repeats the key wherever it can."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            self.send_response_only(302, f"Found {key}")
            self.send_header("Location", SIGNED)
            self.send_header("X-Request-Id", key)
            self.send_header("Set-Cookie", "session=TOPSECRET; Path=/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "botocore", "urllib3", *WIRE_LOGGERS):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def test_a_gateway_that_echoes_the_key_and_redirects_leaves_neither_in_the_log(
    echo: str, said: pytest.LogCaptureFixture
) -> None:
    with WanClient(Account(DASHSCOPE, echo, KEY)) as client:
        for call in (client.get_task, client.cancel):
            with pytest.raises(WanError) as caught:
                call("task-1")
            assert KEY not in f"{caught.value!r} {vars(caught.value)}"

    assert "https://files.example/clip.mp4?…" in said.text
    assert "receive_response_headers.complete" in said.text
    assert "HTTP Request: GET" in said.text
    assert KEY not in said.text
    assert "TOPSECRET" not in said.text


def test_other_clients_of_the_libraries_are_redacted_too(echo: str, said: pytest.LogCaptureFixture) -> None:
    redact_wire_logs(KEY)

    httpx.get(echo, headers={"Authorization": f"Bearer {KEY}"})
    requests.get(f"{echo}/a.mp4?Signature=TOPSECRET", timeout=5, allow_redirects=False)

    assert "/a.mp4?…" in said.text
    assert KEY not in said.text
    assert "TOPSECRET" not in said.text


def test_each_secret_of_an_account_is_hidden(echo: str, said: pytest.LogCaptureFixture) -> None:
    redact_wire_logs(KEY, "system-token-0123456789")

    httpx.get(f"{echo}/system-token-0123456789/{KEY}")

    assert "HTTP Request: GET" in said.text
    assert "system-token" not in said.text
    assert KEY not in said.text


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_what_signs_a_request_to_a_store_is_not_logged(version: str, echo: str, said: pytest.LogCaptureFixture) -> None:
    boto3 = pytest.importorskip("boto3")
    redact_wire_logs()
    client = boto3.client(
        "s3",
        endpoint_url=echo,
        region_name="us-east-1",
        aws_access_key_id="AKIATOPSECRET",
        aws_secret_access_key="SECRETKEY",
        aws_session_token="TOKENTOPSECRET",
        config=boto3.session.Config(signature_version=version, retries={"total_max_attempts": 1}),
    )

    url = client.generate_presigned_url("get_object", Params={"Bucket": "films", "Key": "a.png"})
    with pytest.raises(Exception, match="302"):
        client.put_object(Bucket="films", Key="a.png", Body=b"x")

    signature = url.partition("Signature=")[2].partition("&")[0]
    assert len(signature) > 20
    assert "Sending http request" in said.text
    for secret in ("TOPSECRET", "SECRETKEY", signature):
        assert secret not in said.text
    assert "Signature=" not in said.text.replace("Signature=…", "")
    assert not [record for record in said.records if record.name == "botocore.auth"]


def test_a_traceback_in_a_record_becomes_a_redacted_sentence(said: pytest.LogCaptureFixture) -> None:
    redact_wire_logs()

    logging.getLogger("botocore.endpoint").debug("Exception received", exc_info=OSError(f"cannot connect to {SIGNED}"))

    assert "Exception received (OSError: cannot connect to https://files.example/clip.mp4?…" in said.text
    assert "TOPSECRET" not in said.text


def test_other_loggers_are_left_alone(said: pytest.LogCaptureFixture) -> None:
    redact_wire_logs()

    logging.getLogger("a.dag.of.somebody").debug("see %s", SIGNED)

    assert SIGNED in said.text
