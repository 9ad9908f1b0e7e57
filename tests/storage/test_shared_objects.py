"""Two tasks that write one object: the store itself refuses the second where it can."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_wan.exceptions import DestinationError
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET = "films"


@pytest.fixture(params=["s3", "oss"])
def destination(request: pytest.FixtureRequest) -> Destination:
    request.getfixturevalue(request.param)
    conn_id = {"s3": "aws_default", "oss": "oss_default"}[request.param]
    return Destination(f"{request.param}://{conn_id}@{BUCKET}/film.mp4")


def publish(destination: Destination, content: bytes, may_replace: Callable[[], bool] | None = None) -> bool:
    with destination.staging() as staged:
        staged.write_bytes(content)
        return replace(destination, may_replace=may_replace).publish(staged)


def another_comes_after_the_look(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    look, looks = Destination._may_be_free, []

    def look_then_other(self: Destination) -> bool:
        looks.append(look(self))
        if len(looks) == 1:
            assert looks == [True]
            publish(destination, b"theirs")
        return looks[-1]

    monkeypatch.setattr(Destination, "_may_be_free", look_then_other)


def test_an_object_that_comes_after_the_look_stays(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    another_comes_after_the_look(destination, monkeypatch)

    assert not publish(destination, b"mine", lambda: False)

    assert destination.read(100) == b"theirs"


def test_an_object_that_may_be_replaced_is(destination: Destination) -> None:
    assert publish(destination, b"theirs", may_replace=pytest.fail)
    there = destination.version()
    assert publish(destination, b"mine", lambda: destination.version() == there)
    assert not publish(destination, b"another's", lambda: destination.version() == there)

    assert destination.read(100) == b"mine"
    assert destination.modified_at()
    assert Destination(destination.uri + ".none").version() == ""


def test_a_store_without_conditional_writes_is_written_to_all_the_same(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    put_file, asked = S3FileSystem._put_file, []

    async def without_conditions(*args: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        asked.append(mode)
        if mode == "create":
            raise OSError(38, "A header you provided implies functionality that is not implemented")
        await put_file(*args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_put_file", without_conditions)

    assert publish(Destination(f"s3://aws_default@{BUCKET}/film.mp4"), b"mine", lambda: False)

    assert asked == ["create", "overwrite"]
    assert s3.get_object(Bucket=BUCKET, Key="film.mp4")["Body"].read() == b"mine"


def test_a_broken_conditional_upload_leaves_nothing(s3: Any, wire: Any) -> None:
    destination = Destination(f"s3://aws_default@{BUCKET}/film.mp4")
    assert destination.size() is None
    wire.cut_after(1000)

    with pytest.raises(DestinationError, match="could not be"):
        publish(destination, b"mine" * 10_000, lambda: False)

    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=BUCKET, Key="film.mp4")
