from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_wan.exceptions import DestinationError
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from pathlib import Path


def deliver(destination: Destination, content: bytes = b"film") -> None:
    """What a task does: check, stage, publish."""
    destination.prepare()
    with destination.staging() as staged:
        staged.write_bytes(content)
        destination.publish(staged)


def fail_midway(destination: Destination) -> None:
    with destination.staging() as staged:
        staged.write_bytes(b"half a fi")
        raise RuntimeError("midway")


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Local paths ---------------------------------------------------------------------------------------------------------


def test_a_file_appears_at_its_path_and_nothing_else(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "new" / "folder" / "x.mp4"))

    deliver(destination)

    assert (tmp_path / "new" / "folder" / "x.mp4").read_bytes() == b"film"
    assert files_under(tmp_path) == ["new/folder/x.mp4"]
    assert str(destination) == str(tmp_path / "new" / "folder" / "x.mp4")


def test_nothing_is_at_the_path_until_the_file_is_complete(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "x.mp4"))
    destination.prepare()

    with destination.staging() as staged:
        staged.write_bytes(b"half a fi")
        assert not (tmp_path / "x.mp4").exists()
        assert staged.parent == tmp_path  # so that publishing is a rename within one file system
        assert staged.name.startswith(".x.mp4.")


def test_a_failure_midway_leaves_nothing_behind(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "x.mp4"))
    destination.prepare()

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway(destination)

    assert files_under(tmp_path) == []


def test_a_failure_midway_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"earlier")
    destination = Destination(str(tmp_path / "x.mp4"))
    destination.prepare()

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway(destination)

    assert (tmp_path / "x.mp4").read_bytes() == b"earlier"
    assert files_under(tmp_path) == ["x.mp4"]


def test_an_earlier_file_is_replaced_in_one_step_and_open_readers_keep_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"earlier and longer")

    with (tmp_path / "x.mp4").open("rb") as reader:
        deliver(Destination(str(tmp_path / "x.mp4")))

        assert reader.read() == b"earlier and longer"
    assert (tmp_path / "x.mp4").read_bytes() == b"film"


def test_two_tasks_with_one_path_use_different_temporary_files(tmp_path: Path) -> None:
    first, second = Destination(str(tmp_path / "x.mp4")), Destination(str(tmp_path / "x.mp4"))

    with first.staging() as one, second.staging() as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
        first.publish(one)
        second.publish(other)

    assert (tmp_path / "x.mp4").read_bytes() == b"other"
    assert files_under(tmp_path) == ["x.mp4"]


def test_a_relative_path_stays_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    deliver(Destination("out/x.mp4"))

    assert (tmp_path / "out" / "x.mp4").read_bytes() == b"film"


def test_the_file_is_as_readable_as_any_other_new_one(tmp_path: Path) -> None:
    umasks = (0o022, 0o077, 0o027)
    # In a process of its own: the umask belongs to the whole process.
    code = f"""
import os, sys
from airflow_wan.videos.destination import Destination

for umask in {umasks}:
    os.umask(umask)
    destination = Destination(f"{{sys.argv[1]}}/{{umask}}.mp4")
    destination.prepare()
    with destination.staging() as staged:
        staged.write_bytes(b"film")
        destination.publish(staged)
    assert os.umask(umask) == umask
"""

    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)

    modes = {umask: stat.S_IMODE((tmp_path / f"{umask}.mp4").stat().st_mode) for umask in umasks}
    assert modes == {umask: 0o666 & ~umask for umask in umasks}


def test_the_staged_file_is_private(tmp_path: Path) -> None:
    with Destination(str(tmp_path / "x.mp4")).staging() as staged:
        assert stat.S_IMODE(staged.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".mp4", "字" * 80 + ".mp4", "😀" * 60 + ".mp4"], ids=["latin", "cjk", "emoji"]
)
def test_the_longest_possible_name_can_be_staged(name: str, tmp_path: Path) -> None:
    assert len(name.encode()) <= 255

    deliver(Destination(str(tmp_path / name)))

    assert files_under(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a b.mp4", "a%20b.mp4", "a#b?c.mp4", "[1].mp4", "ü字.mp4", "C:x.mp4"])
def test_names_with_special_characters_are_taken_literally(name: str, tmp_path: Path) -> None:
    deliver(Destination(str(tmp_path / name)))

    assert files_under(tmp_path) == [name]


# Files beside a video, and files that exist already ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("video", "sidecar", "poster", "rejected"),
    [
        ("/v/clip.mp4", "/v/clip.mp4.json", "/v/clip.jpg", "/v/clip.rejected.mp4"),
        ("clip.MP4", "clip.MP4.json", "clip.jpg", "clip.rejected.MP4"),
        ("/v.mp4/clip", "/v.mp4/clip.json", "/v.mp4/clip.jpg", "/v.mp4/clip.rejected"),
        ("/v/clip.v1", "/v/clip.v1.json", "/v/clip.v1.jpg", "/v/clip.v1.rejected"),
        ("/v/clip.jpg", "/v/clip.jpg.json", "/v/clip.jpg.jpg", "/v/clip.jpg.rejected"),
        ("/v/.mp4", "/v/.mp4.json", "/v/.jpg", "/v/.rejected.mp4"),
        ("/v/a#b?c.mp4", "/v/a#b?c.mp4.json", "/v/a#b?c.jpg", "/v/a#b?c.rejected.mp4"),
        ("s3://me@b/k/c.mp4", "s3://me@b/k/c.mp4.json", "s3://me@b/k/c.jpg", "s3://me@b/k/c.rejected.mp4"),
        ("s3://me@b/k/c", "s3://me@b/k/c.json", "s3://me@b/k/c.jpg", "s3://me@b/k/c.rejected"),
    ],
)
def test_a_video_has_three_files_beside_it(video: str, sidecar: str, poster: str, rejected: str) -> None:
    destination = Destination(video)

    assert str(destination.sidecar) == sidecar
    assert str(destination.poster) == poster
    assert str(destination.rejected) == rejected


def test_a_name_too_long_for_the_files_beside_the_video_is_found_beforehand(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / ("x" * 251 + ".mp4")))
    destination.prepare()

    with pytest.raises(DestinationError, match="too long"):
        destination.sidecar.prepare()


def test_a_record_is_written_completely_beside_its_video(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "x.mp4"))
    deliver(destination)

    destination.sidecar.write(b"first")
    destination.sidecar.write(b"second")

    assert (tmp_path / "x.mp4.json").read_bytes() == b"second"
    assert files_under(tmp_path) == ["x.mp4", "x.mp4.json"]


def test_a_record_that_cannot_be_written_is_an_error_of_the_destination(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="could not be written"):
        Destination(str(tmp_path / "no folder" / "x.mp4.json")).write(b"record")


@pytest.mark.parametrize("content", [b"", b"film", bytes(range(256)) * 40_000])
def test_size_content_and_digest_of_a_file_can_be_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    destination = Destination(str(tmp_path / "x.mp4"))

    assert destination.size() == len(content)
    assert destination.read(3) == content[:3]
    assert destination.sha256() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["none.mp4", "no folder/none.mp4", ""], ids=["no file", "no folder", "a folder"])
def test_a_missing_file_has_no_size_content_or_digest(name: str, tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / name))

    assert (destination.size(), destination.read(3), destination.sha256()) == (None, None, None)


def test_a_place_that_cannot_be_read_raises(tmp_path: Path) -> None:
    (tmp_path / "videos").write_text("not a folder")
    destination = Destination(str(tmp_path / "videos" / "x.mp4"))

    for ask in (destination.size, destination.sha256, lambda: destination.read(3)):
        with pytest.raises(DestinationError, match="could not be read: NotADirectoryError"):
            ask()


def test_a_digest_does_not_load_the_whole_file(tmp_path: Path) -> None:
    with (tmp_path / "x.mp4").open("wb") as file:
        file.truncate(64 * 1024 * 1024)  # a hole: takes no room

    tracemalloc.start()
    try:
        Destination(str(tmp_path / "x.mp4")).sha256()
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


# Checks before a video is bought -------------------------------------------------------------------------------------


def test_a_folder_in_the_way_is_found_beforehand(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()

    with pytest.raises(DestinationError, match="there is a folder"):
        Destination(str(tmp_path / "x.mp4")).prepare()


def test_a_file_where_a_folder_should_be_is_found_beforehand(tmp_path: Path) -> None:
    (tmp_path / "videos").write_text("not a folder")

    with pytest.raises(DestinationError, match="cannot be written to"):
        Destination(str(tmp_path / "videos" / "x.mp4")).prepare()


def test_a_name_that_is_too_long_is_found_beforehand(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="too long"):
        Destination(str(tmp_path / ("x" * 300))).prepare()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_read_only_place_is_found_beforehand() -> None:
    with pytest.raises(DestinationError, match="cannot be written to"):
        Destination("/proc/videos/x.mp4").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_access_is_found_beforehand(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(DestinationError, match="no write access"):
        Destination(str(tmp_path / "x.mp4")).prepare()


@pytest.mark.parametrize("uri", ["nosuchstore://bucket/x.mp4", "nosuchstore://[x/y.mp4"])
def test_an_unknown_store_is_found_beforehand(uri: str) -> None:
    with pytest.raises(DestinationError, match=re.escape(uri)):
        Destination(uri).prepare()


def test_preparing_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"earlier")

    Destination(str(tmp_path / "x.mp4")).prepare()

    assert (tmp_path / "x.mp4").read_bytes() == b"earlier"
    assert files_under(tmp_path) == ["x.mp4"]


def test_a_folder_that_appeared_in_the_meantime_is_an_error_of_the_destination(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "x.mp4"))
    destination.prepare()

    with destination.staging() as staged:
        staged.write_bytes(b"film")
        (tmp_path / "x.mp4").mkdir()
        with pytest.raises(DestinationError, match="could not be written"):
            destination.publish(staged)

    assert files_under(tmp_path) == []


# Object stores -------------------------------------------------------------------------------------------------------


class Bucket(MemoryFileSystem):  # type: ignore[misc]
    """An object store in memory whose uploads can be made to break off."""

    cachable = False
    hangs_up = False

    def put_file(self, *arguments: Any, **options: Any) -> None:
        if self.hangs_up:
            raise ConnectionResetError("the store hung up")
        super().put_file(*arguments, **options)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """What Airflow reaches as s3://bucket and memory://bucket."""
    from airflow.sdk.io import attach, store

    monkeypatch.setattr(store, "_STORE_CACHE", {})
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    files = Bucket()
    files.mkdir("/bucket")
    attach("memory", alias="memory", fs=files)
    attach("s3", alias="s3", fs=files)
    return files


@pytest.mark.parametrize("scheme", ["memory", "s3"])
def test_an_object_is_published_completely_to_a_store(scheme: str, bucket: Bucket) -> None:
    destination = Destination(f"{scheme}://bucket/run/x.mp4")

    deliver(destination)

    assert bucket.find("/") == ["/bucket/run/x.mp4"]
    assert bucket.cat("/bucket/run/x.mp4") == b"film"
    assert str(destination) == f"{scheme}://bucket/run/x.mp4"
    assert destination.local_path is None


def test_an_object_is_staged_on_local_disk_and_the_staged_file_is_removed(bucket: Bucket) -> None:
    destination = Destination("s3://bucket/x.mp4")
    destination.prepare()

    with destination.staging() as staged:
        assert staged.exists()
        assert bucket.find("/") == []

    assert not staged.exists()


def test_an_earlier_object_is_replaced(bucket: Bucket) -> None:
    bucket.pipe("/bucket/x.mp4", b"earlier")

    deliver(Destination("s3://bucket/x.mp4"))

    assert bucket.cat("/bucket/x.mp4") == b"film"


def test_an_upload_that_breaks_off_leaves_the_earlier_object_and_no_staged_file(bucket: Bucket) -> None:
    bucket.pipe("/bucket/x.mp4", b"earlier")
    bucket.hangs_up = True
    destination = Destination("s3://bucket/x.mp4")
    destination.prepare()

    with destination.staging() as staged:
        staged.write_bytes(b"film")
        with pytest.raises(DestinationError, match="ConnectionResetError: the store hung up"):
            destination.publish(staged)

    assert bucket.cat("/bucket/x.mp4") == b"earlier"
    assert not staged.exists()


def test_a_record_is_written_completely_or_not_at_all_to_a_store(bucket: Bucket) -> None:
    record = Destination("s3://bucket/x.mp4").sidecar
    record.write(b"earlier")
    bucket.hangs_up = True

    with pytest.raises(DestinationError, match="ConnectionResetError: the store hung up"):
        record.write(b"later")

    assert bucket.cat("/bucket/x.mp4.json") == b"earlier"


@pytest.mark.parametrize("content", [b"", b"film", bytes(range(256)) * 40_000])
def test_size_content_and_digest_of_an_object_can_be_read(content: bytes, bucket: Bucket) -> None:
    bucket.pipe("/bucket/run/x.mp4", content)
    destination = Destination("s3://bucket/run/x.mp4")

    assert destination.size() == len(content)
    assert destination.read(3) == content[:3]
    assert destination.sha256() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("uri", ["s3://bucket/none.mp4", "s3://bucket/run", "s3://bucket/run/", "s3://none/x.mp4"])
def test_a_missing_object_has_no_size_content_or_digest(uri: str, bucket: Bucket) -> None:
    bucket.pipe("/bucket/run/x.mp4", b"film")
    destination = Destination(uri)

    assert (destination.size(), destination.read(3), destination.sha256()) == (None, None, None)


def test_a_store_that_cannot_answer_raises(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("ListBucket")

    monkeypatch.setattr(bucket, "info", refuse)
    destination = Destination("s3://bucket/x.mp4")

    for ask in (destination.size, destination.sha256, lambda: destination.read(3)):
        with pytest.raises(
            DestinationError, match=r"s3://bucket/x\.mp4 could not be read: PermissionError: ListBucket"
        ):
            ask()


def test_a_cached_listing_does_not_hide_what_another_worker_wrote(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = set(bucket.find("/"))  # s3fs answers from such a listing until it is put aside

    def info(path: str, **options: Any) -> Any:
        if f"/{path.lstrip('/')}" not in listed:
            raise FileNotFoundError(path)
        return MemoryFileSystem.info(bucket, path, **options)

    monkeypatch.setattr(bucket, "info", info)
    monkeypatch.setattr(bucket, "invalidate_cache", lambda path: listed.update(bucket.find("/")))
    bucket.pipe("/bucket/x.mp4", b"film")

    assert Destination("s3://bucket/x.mp4").size() == 4


def test_preparing_writes_nothing_to_a_store(bucket: Bucket) -> None:
    Destination("s3://bucket/x.mp4").prepare()

    assert bucket.find("/") == []


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_does_not_exist_is_found_beforehand() -> None:
    with pytest.raises(DestinationError, match="there is no bucket 'buckte'"):
        Destination("s3://buckte/x.mp4").prepare()


def test_a_key_that_may_only_write_passes(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> bool:
        raise PermissionError("ListBucket")

    monkeypatch.setattr(bucket, "exists", refuse)

    deliver(Destination("s3://bucket/x.mp4"))

    assert bucket.cat("/bucket/x.mp4") == b"film"
