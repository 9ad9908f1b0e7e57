from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airflow_wan import __version__
from airflow_wan.exceptions import DestinationError
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.sidecar import (
    MAX_RECORD_BYTES,
    AirflowTask,
    Attempts,
    Cost,
    Gateway,
    Generation,
    Inspection,
    Sidecar,
    Source,
    Video,
    read_sidecar,
    schema_text,
    video_matches,
    write_sidecar,
)

SCHEMA = Path(__file__).parents[3] / "docs" / "sidecar.schema.json"

FILM = b"film"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PNG_DIGEST = f"data:image/png;sha256={hashlib.sha256(PNG).hexdigest()}"
PNG_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
KEY = "sk-0123456789abcdef0123456789abcdef"
SIGNED = "https://bucket.oss-cn.aliyuncs.com/a/first.png?Expires=1&OSSAccessKeyId=LTAI5t&Signature=TOPSECRET"


def record(**parts: Any) -> Sidecar:
    """A record such as a task writes."""
    return Sidecar(
        **{
            "video": Video(name="film.mp4", bytes=len(FILM), sha256=hashlib.sha256(FILM).hexdigest()),
            "inspection": Inspection(
                duration_s=5.041, width=1280, height=720, has_audio=True, c2pa=False, aigc_label=True, decoded=True
            ),
            "request": {
                "model": "wan2.7-i2v",
                "input": {
                    "prompt": "一只猫 turns its head",
                    "media": [
                        {"type": "first_frame", "url": PNG_URI},
                        {"type": "driving_audio", "url": SIGNED},
                    ],
                },
                "parameters": {"resolution": "720P", "duration": 5, "seed": 7},
            },
            "fingerprint": "f" * 64,
            "sources": [
                Source(role="first_frame", url=PNG_URI, digest="sha256:00"),
                Source(role="driving_audio", url=SIGNED),
            ],
            "generation": Generation(model="wan2.7-i2v", seed=7, prompt="一只猫", expanded_prompt="一只猫, in detail"),
            "gateway": Gateway(name="apiyi", base_url="https://api.apiyi.com", wan_task_id="0385", request_id="r-1"),
            "times": {
                "intent": dt.datetime(2026, 8, 24, 12, 0, tzinfo=dt.UTC),
                "submitted": dt.datetime(2026, 8, 24, 20, 0, 1, tzinfo=dt.timezone(dt.timedelta(hours=8))),
            },
            "attempts": Attempts(airflow_try=1, downloads=2),
            "cost": Cost(estimated=0.42, settled=0.42, usage={"duration": 5, "SR": "720P"}, rates_as_of="2026-08"),
            "airflow": AirflowTask(dag_id="films", run_id="manual__2026-08-24T12:00:00+00:00", task_id="film"),
            **parts,
        }
    )


def least() -> Sidecar:
    """A record of one who only waited for the video."""
    return Sidecar(
        video=Video(name="film.mp4", bytes=0, sha256="0" * 64),
        inspection=Inspection(
            duration_s=None, width=None, height=None, has_audio=False, c2pa=False, aigc_label=False, decoded=False
        ),
        gateway=Gateway(name="dashscope", base_url="https://dashscope.aliyuncs.com", wan_task_id="0385"),
        airflow=AirflowTask(dag_id="films", run_id="r", task_id="wait", map_index=3),
    )


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    """Where a film lies."""
    (tmp_path / "film.mp4").write_bytes(FILM)
    return Destination(str(tmp_path / "film.mp4"))


# Writing and reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sidecar", [record(), least()], ids=["full", "least"])
def test_a_written_record_can_be_read(sidecar: Sidecar, destination: Destination, tmp_path: Path) -> None:
    write_sidecar(destination, sidecar)

    assert read_sidecar(destination) == sidecar
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "film.mp4.json"]


def test_the_text_is_indented_and_always_in_the_same_order() -> None:
    text = record().to_json()

    assert text == record().to_json()
    assert text.startswith('{\n  "schema_version": 1,\n  "package": {\n    "name": "airflow-provider-wan",\n')
    assert text.endswith("}\n")
    assert '"prompt": "一只猫 turns its head"' in text
    assert json.loads(text)["package"]["version"] == __version__
    assert list(json.loads(text)["request"]) == ["model", "input", "parameters"]


def test_times_are_in_utc() -> None:
    assert json.loads(record().to_json())["times"] == {
        "intent": "2026-08-24T12:00:00Z",
        "submitted": "2026-08-24T12:00:01Z",
    }


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        record(times={"intent": dt.datetime(2026, 8, 24)})  # noqa: DTZ001 - the mistake


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record().fingerprint = "another"  # type: ignore[misc]


def test_figures_that_are_no_json_become_null(destination: Destination) -> None:
    write_sidecar(destination, record(cost=Cost(usage={"a": float("nan"), "b": [float("inf")], "c": 1.5})))

    sidecar = read_sidecar(destination)

    assert sidecar is not None
    assert sidecar.cost.usage == {"a": None, "b": [None], "c": 1.5}


def test_half_a_character_does_not_prevent_writing(destination: Destination) -> None:
    write_sidecar(destination, record(generation=Generation(expanded_prompt="cut \ud83d")))

    sidecar = read_sidecar(destination)

    assert sidecar is not None
    assert sidecar.generation.expanded_prompt == "cut ?"


def test_a_record_is_written_beside_its_video_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.io import attach, store

    monkeypatch.setattr(store, "_STORE_CACHE", {})
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    files = MemoryFileSystem()
    attach("memory", "me", fs=files)
    files.pipe("/bucket/film.mp4", FILM)
    destination = Destination("memory://me@bucket/film.mp4")
    assert read_sidecar(destination) is None

    write_sidecar(destination, record())

    assert sorted(files.find("/")) == ["/bucket/film.mp4", "/bucket/film.mp4.json"]
    assert read_sidecar(destination) == record()
    assert video_matches(destination, record())


# A record that is of no use ------------------------------------------------------------------------------------------


def test_without_a_record_nothing_is_read_or_logged(destination: Destination, caplog: pytest.LogCaptureFixture) -> None:
    assert read_sidecar(destination) is None
    assert caplog.records == []


def changed(**changes: Any) -> bytes:
    return json.dumps({**json.loads(record().to_json()), **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        changed(schema_version=2),
        changed(schema_version="1"),
        changed(video=None),
        changed(video={"name": "film.mp4", "bytes": -1, "sha256": "0" * 64}),
        changed(video={"name": "film.mp4", "bytes": 1, "sha256": "TOPSECRET"}),
        changed(times={"intent": "0001-01-01T00:00:00+23:59"}),
        changed(times={"intent": "yesterday"}),
    ],
    ids=range(13),
)
def test_a_file_that_is_no_record_of_this_version_is_ignored_with_a_warning(
    content: bytes, destination: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    destination.sidecar.write(content)

    assert read_sidecar(destination) is None

    (line,) = caplog.messages
    assert line.startswith(f"{destination}.json is ignored: it is no record of this version")
    assert "TOPSECRET" not in line


def test_a_file_too_large_for_a_record_is_ignored(destination: Destination, caplog: pytest.LogCaptureFixture) -> None:
    text = record().to_json().encode()
    destination.sidecar.write(text.ljust(MAX_RECORD_BYTES))
    assert read_sidecar(destination) == record()

    destination.sidecar.write(text.ljust(MAX_RECORD_BYTES + 1))

    assert read_sidecar(destination) is None
    assert "larger than any record" in caplog.text


def test_a_field_of_a_later_version_is_ignored(destination: Destination) -> None:
    destination.sidecar.write(changed(added="later"))

    assert read_sidecar(destination) == record()


class Unreadable(MemoryFileSystem):  # type: ignore[misc]
    """A store that says what a test has it say."""

    error: Exception

    def info(self, path: str, **_: Any) -> Any:
        raise self.error


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Unreadable:
    from airflow.sdk.io import attach, store

    monkeypatch.setattr(store, "_STORE_CACHE", {})
    files = Unreadable()
    attach("memory", "unreadable", fs=files)
    return files


def test_with_a_key_that_may_only_write_no_record_is_read(
    unreadable: Unreadable, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable.error = PermissionError("Forbidden")

    assert read_sidecar(Destination("memory://unreadable@bucket/film.mp4")) is None
    assert "no permission to read" in caplog.text


def test_a_store_that_cannot_answer_for_now_raises(unreadable: Unreadable) -> None:
    unreadable.error = ConnectionResetError("the store hung up")

    with pytest.raises(DestinationError, match="the store hung up"):
        read_sidecar(Destination("memory://unreadable@bucket/film.mp4"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def almost_records(draw: st.DrawFn) -> bytes:
    """Records in which one value, at any depth, is something else."""
    document = json.loads(record().to_json())
    place = document
    while True:
        name = draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or not place[name] or draw(st.booleans()):
            break
        place = place[name]
    place[name] = draw(JSON)
    return json.dumps(document).encode(errors="replace")


@given(content=st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode()), almost_records()))
def test_any_content_gives_a_record_or_none(content: bytes, destination: Destination) -> None:
    destination.sidecar.write(content)

    sidecar = read_sidecar(destination)

    if sidecar is not None:
        assert Sidecar.model_validate_json(sidecar.to_json()) == sidecar


# Whether it is about the file that is there --------------------------------------------------------------------------


def test_a_record_matches_the_file_it_was_made_for(destination: Destination) -> None:
    assert video_matches(destination, record())


@pytest.mark.parametrize("content", [b"", b"fil", b"film.", b"FILM", None], ids=range(5))
def test_a_record_matches_no_other_file_and_no_missing_one(content: bytes | None, destination: Destination) -> None:
    path = Path(str(destination))
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    assert not video_matches(destination, record())


def test_a_file_of_another_size_is_not_read(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(str(destination)).write_bytes(b"another")
    monkeypatch.delattr(Path, "open")  # reading it would raise

    assert not video_matches(destination, record())


# What is never in it -------------------------------------------------------------------------------------------------


def test_a_request_is_recorded_in_its_shareable_form() -> None:
    request = record().request

    assert request is not None
    assert request["input"] == {
        "prompt": "一只猫 turns its head",
        "media": [
            {"type": "first_frame", "url": PNG_DIGEST},
            {"type": "driving_audio", "url": "https://bucket.oss-cn.aliyuncs.com/a/first.png"},
        ],
    }


def test_no_secret_gets_in_through_any_field(destination: Destination) -> None:
    dirty = f"see https://user:PASSWORD@host/{KEY}/a.png?Signature=TOPSECRET#TOPSECRET or {KEY}"
    sidecar = record(
        request={"a": [{"b": (dirty, SIGNED)}]},
        fingerprint=dirty,
        sources=[{"role": dirty, "url": SIGNED, "digest": dirty}],
        generation=Generation(model=dirty, prompt=dirty, expanded_prompt=dirty),
        gateway=Gateway(name=dirty, base_url=dirty, wan_task_id=dirty, request_id=dirty),
        cost=Cost(usage={"a": {"b": dirty}}, rates_as_of=dirty),
        airflow=AirflowTask(dag_id=dirty, run_id=dirty, task_id=dirty),
        inspection={**dict(record().inspection), "shortcomings": [dirty]},
    )

    text = sidecar.to_json()

    for secret in ("TOPSECRET", "PASSWORD", KEY, "Signature", "LTAI", "?"):
        assert secret not in text
    assert "see https://host/sk-…/a.png or sk-…" in text


# The schema ----------------------------------------------------------------------------------------------------------


def test_the_schema_in_the_documentation_is_that_of_the_model() -> None:
    assert SCHEMA.read_text() == schema_text(), (
        "Generate it: python -c 'from airflow_wan.videos.sidecar import schema_text; print(schema_text(), end=\"\")' "
        "> docs/sidecar.schema.json"
    )


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("sidecar", [record(), least()], ids=["full", "least"])
def test_a_record_keeps_to_the_schema(sidecar: Sidecar, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(json.loads(sidecar.to_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"video": {"name": "film.mp4", "bytes": 4, "sha256": "none"}},
        {"video": {"name": "film.mp4", "bytes": -4, "sha256": "0" * 64}},
        {"gateway": {"name": "apiyi"}},
        {"request": []},
        {"times": {"intent": 5}},
        {"cost": None},
    ],
)
def test_the_schema_refuses_what_is_no_record(
    change: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(json.loads(changed(**change)))


def test_every_field_is_always_there(validator: jsonschema.Draft202012Validator) -> None:
    document = json.loads(least().to_json())
    for name in document:
        with pytest.raises(jsonschema.ValidationError, match=f"'{name}' is a required property"):
            validator.validate({key: value for key, value in document.items() if key != name})


def test_a_dag_file_does_not_load_the_record() -> None:
    code = "import airflow_wan.operators.wan, sys; sys.exit('airflow_wan.videos.sidecar' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
