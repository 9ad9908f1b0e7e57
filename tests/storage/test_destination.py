"""A video in S3 is complete or absent, even when the connection breaks."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from airflow_wan.exceptions import DestinationError
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wire

BUCKET = "films"
KEY = "clips/kite.mp4"
MB = 1024 * 1024

# s3fs sends a file of less than two parts in one request.
PART = 5 * MB  # the least that S3 takes
SIZES = {"one request": 3 * MB, "several parts": 2 * PART + 1}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have s3fs send parts of 5 MB instead of 50 MB."""
    put_file = S3FileSystem._put_file

    async def put_small_parts(*args: Any, **kwargs: Any) -> None:
        await put_file(*args, **kwargs | {"chunksize": PART})

    monkeypatch.setattr(S3FileSystem, "_put_file", put_small_parts)


@pytest.fixture(params=list(SIZES))
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "staged.part"
    path.write_bytes(random.Random(3).randbytes(SIZES[request.param]))
    return path


@pytest.fixture
def destination(s3: Any) -> Destination:
    return Destination(f"s3://aws_default@{BUCKET}/{KEY}")


def there(s3: Any) -> bytes | None:
    try:
        return bytes(s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read())
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey"  # noqa: PT017
        return None


def test_a_video_is_published_completely(s3: Any, destination: Destination, video: Path) -> None:
    destination.prepare()
    destination.publish(video)

    assert there(s3) == video.read_bytes()
    parts = s3.head_object(Bucket=BUCKET, Key=KEY)["ETag"].strip('"').partition("-")[2]
    assert parts == ("3" if video.stat().st_size > 2 * PART else "")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("older", [None, b"an older video"], ids=["nothing", "an older video"])
def test_a_broken_upload_changes_nothing(
    s3: Any, destination: Destination, video: Path, wire: Wire, share: float, older: bytes | None
) -> None:
    if older is not None:
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=older)
    wire.cut_after(int(share * video.stat().st_size))

    with pytest.raises(DestinationError, match="could not be written"):
        destination.publish(video)

    assert wire.cuts > 0
    assert there(s3) == older


def test_after_a_broken_upload_the_next_try_publishes(
    s3: Any, destination: Destination, video: Path, wire: Wire
) -> None:
    wire.cut_after(MB)
    with pytest.raises(DestinationError):
        destination.publish(video)
    wire.mend()

    destination.publish(video)

    assert there(s3) == video.read_bytes()


def test_the_record_beside_a_video_is_written_and_read(s3: Any, destination: Destination) -> None:
    destination.sidecar.write(b"a record")

    assert s3.get_object(Bucket=BUCKET, Key=f"{KEY}.json")["Body"].read() == b"a record"
    assert destination.sidecar.read(4) == b"a re"
    assert destination.sidecar.size() == 8
    assert destination.sidecar.sha256() == hashlib.sha256(b"a record").hexdigest()
    assert (destination.read(4), destination.size(), destination.sha256()) == (None, None, None)


def test_an_object_that_another_worker_wrote_since_is_read(s3: Any, destination: Destination) -> None:
    destination.write(b"mine")
    assert destination.size() == 4

    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"another's")

    assert destination.size() == 9
    assert destination.read(100) == b"another's"
    assert destination.sha256() == hashlib.sha256(b"another's").hexdigest()


def test_a_missing_bucket_is_reported_before_anything_is_bought(s3: Any) -> None:
    with pytest.raises(DestinationError, match="no bucket 'no-such-bucket'"):
        Destination("s3://aws_default@no-such-bucket/kite.mp4").prepare()
