"""After runs that succeeded and failed, nothing that Airflow keeps holds an API key, a bearer header or a signature.

This module runs last, so it also scans what all other system tests of the session have left behind.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from dag_runs import running_emulator
from journeys import REFUSED_KEY, Journey, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_S = 24 * 3600.0
MEDIA_SIGNATURE = "m3d1aSignatureOfThePicture00"
FAILED_REQUEST_SIGNATURE = "m3d1aSignatureOfABadRequest0"
PRESIGNED = "Expires=1999999999&OSSAccessKeyId=LTAI0123456789abcdef&Signature="

# The emulator signs its result URLs in the way that OSS does.
SIGNED_RESULT = re.compile(r"OSSAccessKeyId=|Signature=|/result/[^\s\"']+\?")
BEARER = re.compile(r"Bearer\s+\S")


def leaks(text: str, secrets: list[str]) -> list[str]:
    """Return the secrets that a text holds."""
    found = [secret for secret in secrets if secret in text or secret.encode().hex() in text]
    return found + [match[0] for pattern in (SIGNED_RESULT, BEARER) for match in pattern.finditer(text)]


@pytest.fixture(scope="module")
def journeys(stage: Stage) -> Iterator[dict[str, Journey]]:
    """Run one DAG run that succeeds, and one for each kind of failure that has a secret at hand."""
    variables = {
        "signed_picture": f"{stage.media.url('first.png')}?{PRESIGNED}{MEDIA_SIGNATURE}",
        "signed_picture_without_tls": f"http://cdn.example.com/picture.png?{PRESIGNED}{FAILED_REQUEST_SIGNATURE}",
    }
    for name, value in variables.items():
        stage.airflow.rest.post("/api/v2/variables", {"key": name, "value": value})
    with ExitStack() as running:

        def emulator(name: str, pending_s: int = 0) -> object:
            options = ("--pending-s", str(pending_s), "--running-s", "1")
            return running.enter_context(running_emulator(stage.folder / f"{name}.log", *options))

        refusing, failing, aging = emulator("refusing"), emulator("failing"), emulator("aging")
        refusing.add_fault("download", "expired", times=5)
        failing.add_fault("create", "task_failed", code="InternalError")
        signed = {"dag_id": "system_video_signed_media"}
        started = {
            "success": stage.start("signed media", variable="signed_picture", **signed),
            "invalid request": stage.start("invalid", variable="signed_picture_without_tls", duration=16, **signed),
            "wrong key": stage.start("wrong key", key=REFUSED_KEY),
            "refused download": stage.start("refused download", on=refusing),
            "failed at the gateway": stage.start("failed at the gateway", gateway="dashscope", on=failing),
            "expired result": stage.start(
                "expired result", pause_at="before the download", on=aging, dag_id="system_video_hasty"
            ),
        }
        started["expired result"].wait_for_pause()
        aging.advance(DAY_S + 1)
        started["expired result"].release()
        for journey in started.values():
            journey.wait_for_end(240)
        yield started


def test_the_runs_end_as_expected(journeys: dict[str, Journey]) -> None:
    expected = {
        "success": "The video is at",
        "invalid request": "Nothing was sent.",
        "wrong key": "AuthenticationFailed",
        "refused download": "answered HTTP 403",
        "failed at the gateway": "[InternalError]",
        "expired result": "answered HTTP 403",
    }
    for name, sentence in expected.items():
        assert sentence in journeys[name].log(), (name, journeys[name].log())
    assert [journeys[name].wait_for_end() for name in expected] == [
        "success",
        "failed",
        "failed",
        "success",
        "success",
        "failed",
    ]
    assert journeys["expired result"].billed() == len(journeys["expired result"].creates()) == 1
    assert journeys["refused download"].billed() == len(journeys["refused download"].creates()) == 1
    assert len(journeys["failed at the gateway"].creates()) == 2
    assert journeys["failed at the gateway"].billed() == 1


def test_the_scan_finds_each_kind_of_secret() -> None:
    secrets = ["sk-0123456789"]

    assert leaks("key: sk-0123456789", secrets)
    assert leaks(f"\\x{b'sk-0123456789'.hex()}", secrets)
    assert leaks("Authorization: Bearer abc", secrets)
    assert leaks("http://host/result/1.mp4?Expires=1", secrets)
    assert leaks("https://host/a?Signature=x", secrets)
    assert not leaks("nothing to see", secrets)


def test_nothing_that_airflow_keeps_holds_a_secret(stage: Stage, journeys: dict[str, Journey]) -> None:
    secrets = [journey.key for journey in stage.journeys] + [MEDIA_SIGNATURE, FAILED_REQUEST_SIGNATURE]
    rows = list(stage.airflow.rows())
    found = {row: leaked for row in rows if (leaked := leaks(row, secrets))}
    for file in [*_files(stage.airflow.logs), *_files(stage.airflow.console)]:
        if leaked := leaks(file.read_text(errors="replace"), secrets):
            found[str(file)] = leaked

    assert found == {}
    assert_scanned(rows, journeys["success"])


def assert_scanned(rows: list[str], journey: Journey) -> None:
    """Assert that the scanned tables hold the rows of a run."""
    for table in ("connection", "variable", "xcom", "rendered_task_instance_fields", "trigger", "task_state_store"):
        assert any(row.startswith(f"{table}: ") for row in rows) or table in {"trigger", "task_state_store"}, table
    assert any(row.startswith("xcom: ") and str(journey.output_path) in row for row in rows)
    assert any(row.startswith("connection: ") and journey.wan_conn_id in row for row in rows)
    assert any(row.startswith("rendered_task_instance_fields: ") and journey.run_id in row for row in rows)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
