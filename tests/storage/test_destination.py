"""A video in S3 is complete or absent, even when the connection breaks."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from s3fs import S3FileSystem

from airflow_wan.exceptions import DestinationError, InvalidVideoRequest
from airflow_wan.videos.before_buying import check_names
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.output_path import destination_for

if TYPE_CHECKING:
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


def test_without_credentials_nothing_can_be_written(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_CONN_AWS_DEFAULT", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")

    with pytest.raises(DestinationError, match="no credentials"):
        Destination(f"s3://{BUCKET}/kite.mp4").prepare()


def test_an_upload_of_which_a_part_is_refused_leaves_no_parts(s3: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "staged.part").write_bytes(bytes(2 * PART + 1))
    call, parts = S3FileSystem._call_s3, []

    async def refuse_the_second_part(fs: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "upload_part":
            parts.append(kwargs["PartNumber"])
            if kwargs["PartNumber"] == 2:
                raise PermissionError("no more room in the bucket")
        return await call(fs, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", refuse_the_second_part)

    with pytest.raises(DestinationError, match="no more room"):
        Destination(f"s3://aws_default@{BUCKET}/{KEY}").publish(tmp_path / "staged.part")

    assert 2 in parts
    assert not s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
    assert there(s3) is None


PIECES = ["a", "clip", ".mp4", ".json", ".jpg", "/", "//", "..", ".", "%2e", "\0", " ", "?", "#", "?versionId=1", "+"]
PIECES += ["@", ":", "://", "x" * 100, "x" * 250, "字" * 80, "😀", "\\", "'", '"', "[", "*", "{", "~", "&", "=", "%"]


@settings(max_examples=20)  # each writes six objects over HTTP
@given(
    beginning=st.sampled_from(["s3://aws_default@films/", "S3://aws_default@films", "s3a://aws_default@films/"]),
    pieces=st.lists(st.sampled_from(PIECES), max_size=6),
)
@example(beginning="S3://aws_default@films", pieces=[])
@example(beginning="s3://aws_default@films/", pieces=["x" * 250] * 4)
@example(beginning="s3://aws_default@films/", pieces=["a", "?"])
def test_every_object_that_is_accepted_can_be_published_to(beginning: str, pieces: list[str], s3: Any) -> None:
    context: Any = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)}
    try:
        destination = destination_for(beginning + "".join(pieces), context)
        destination.prepare()
        check_names(destination, sidecar=True, poster=True)
    except (InvalidVideoRequest, DestinationError):
        return
    beside = destination.beside("x" * 36)
    places = [destination, destination.sidecar, destination.poster, destination.rejected, beside, beside.rejected]
    for place in places:
        assert replace(place, may_replace=lambda: False).write(b"film")
        assert place.read(100) == b"film"
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert keys == {place.uri.partition("films/")[2] for place in places}
    for key in keys:
        s3.delete_object(Bucket=BUCKET, Key=key)


DOWNLOADS = """
import sys, tempfile
from airflow_wan.videos.destination import Destination

tempfile.tempdir = sys.argv[1]
with Destination(sys.argv[2]).staging() as staged:
    staged.write_bytes(b"half a fi")
    print(staged, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("its_object", ["clips/kite.mp4", "clips/another.mp4", "clips/kite.mp4.json", "other/mug"])
def test_a_worker_that_is_killed_while_it_downloads_leaves_nothing_for_long(
    its_object: str, destination: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the next task on this machine writes to a store, it removes what no living process owns."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = [sys.executable, "-c", DOWNLOADS, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*command, f"s3://aws_default@{BUCKET}/{its_object}"], **pipes) as killed,
        subprocess.Popen([*command, f"s3://aws_default@{BUCKET}/living.mp4"], **pipes) as living,
    ):
        try:
            left, in_use = (Path(worker.stdout.readline().strip()) for worker in (killed, living))
            killed.kill()
            killed.wait()
            assert left.exists()

            destination.write(b"film")

            assert not left.exists()
            assert in_use.read_bytes() == b"half a fi"
        finally:
            for worker in (killed, living):
                worker.kill()
