from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_wan.files.destination import Destination, DestinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def deliver(destination: Destination, content: bytes = b"film") -> None:
    """What a task does: check, stage, publish."""
    destination.prepare()
    with destination.staging() as staged:
        staged.write_bytes(content)
        destination.publish(staged)


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Local paths ---------------------------------------------------------------------------------------------------------


def test_a_file_appears_at_its_path_and_nothing_else(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "new" / "folder" / "x.mp4"))

    deliver(destination)

    assert (tmp_path / "new" / "folder" / "x.mp4").read_bytes() == b"film"
    assert files_under(tmp_path) == ["new/folder/x.mp4"]
    assert str(destination) == str(tmp_path / "new" / "folder" / "x.mp4")


def test_nothing_is_at_the_path_until_the_file_is_whole(tmp_path: Path) -> None:
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

    with pytest.raises(RuntimeError, match="midway"), destination.staging() as staged:
        staged.write_bytes(b"half a fi")
        raise RuntimeError("midway")

    assert files_under(tmp_path) == []


def test_a_failure_midway_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"earlier")
    destination = Destination(str(tmp_path / "x.mp4"))
    destination.prepare()

    with pytest.raises(RuntimeError, match="midway"), destination.staging() as staged:
        staged.write_bytes(b"half a fi")
        raise RuntimeError("midway")

    assert (tmp_path / "x.mp4").read_bytes() == b"earlier"
    assert files_under(tmp_path) == ["x.mp4"]


def test_an_earlier_file_is_replaced_at_once_and_its_readers_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"earlier and longer")

    with (tmp_path / "x.mp4").open("rb") as reader:
        deliver(Destination(str(tmp_path / "x.mp4")))

        assert reader.read() == b"earlier and longer"
    assert (tmp_path / "x.mp4").read_bytes() == b"film"


def test_two_tasks_staging_for_one_path_do_not_meet(tmp_path: Path) -> None:
    first, second = Destination(str(tmp_path / "x.mp4")), Destination(str(tmp_path / "x.mp4"))

    with first.staging() as one, second.staging() as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
        first.publish(one)
        second.publish(other)

    assert (tmp_path / "x.mp4").read_bytes() == b"other"
    assert files_under(tmp_path) == ["x.mp4"]


def test_a_relative_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    deliver(Destination("out/x.mp4"))

    assert (tmp_path / "out" / "x.mp4").read_bytes() == b"film"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_the_file_is_as_readable_as_any_other_new_one(umask: int, tmp_path: Path) -> None:
    # In a process of its own: the umask belongs to the whole process.
    code = (
        "import os, sys; from pathlib import Path; from airflow_wan.files.destination import Destination\n"
        f"os.umask({umask}); d = Destination(sys.argv[1]); d.prepare()\n"
        "with d.staging() as staged: staged.write_bytes(b'film'); d.publish(staged)\n"
        f"assert os.umask(0) == {umask}"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.mp4")], check=True)

    assert stat.S_IMODE((tmp_path / "x.mp4").stat().st_mode) == 0o666 & ~umask


def test_the_staged_file_is_private(tmp_path: Path) -> None:
    with Destination(str(tmp_path / "x.mp4")).staging() as staged:
        assert stat.S_IMODE(staged.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".mp4", "字" * 80 + ".mp4", "😀" * 60 + ".mp4"], ids=["latin", "cjk", "emoji"]
)
def test_a_name_as_long_as_the_file_system_takes_can_be_staged_too(name: str, tmp_path: Path) -> None:
    assert len(name.encode()) <= 255

    deliver(Destination(str(tmp_path / name)))

    assert files_under(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a b.mp4", "a%20b.mp4", "a#b?c.mp4", "[1].mp4", "ü字.mp4", "C:x.mp4"])
def test_odd_names_are_taken_literally(name: str, tmp_path: Path) -> None:
    deliver(Destination(str(tmp_path / name)))

    assert files_under(tmp_path) == [name]


@pytest.mark.parametrize("prefix", ["file://", "file:", "FILE://"])
def test_a_file_uri_is_a_local_path(prefix: str, tmp_path: Path) -> None:
    destination = Destination(f"{prefix}{tmp_path}/a%20b%23c.mp4")

    deliver(destination)

    assert files_under(tmp_path) == ["a b#c.mp4"]
    assert str(destination) == f"{tmp_path}/a b#c.mp4"
    assert destination.local_path == tmp_path / "a b#c.mp4"


def test_a_file_uri_with_two_slashes_is_refused_rather_than_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DestinationError, match="three slashes"):
        Destination("file://videos/x.mp4").prepare()

    assert list(tmp_path.iterdir()) == []


# What can be known before a video is bought --------------------------------------------------------------------------


def test_a_folder_in_the_way_is_found_beforehand(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()

    with pytest.raises(DestinationError, match="it is a folder"):
        Destination(str(tmp_path / "x.mp4")).prepare()


def test_a_file_where_a_folder_should_be_is_found_beforehand(tmp_path: Path) -> None:
    (tmp_path / "videos").write_text("not a folder")

    with pytest.raises(DestinationError, match="cannot be written to"):
        Destination(str(tmp_path / "videos" / "x.mp4")).prepare()


def test_a_name_that_is_too_long_is_found_beforehand(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="too long"):
        Destination(str(tmp_path / ("x" * 300))).prepare()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_place_where_nobody_may_write_is_found_beforehand() -> None:
    with pytest.raises(DestinationError, match="cannot be written to"):
        Destination("/proc/videos/x.mp4").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_access_is_found_beforehand(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(DestinationError, match="no write access"):
        Destination(str(tmp_path / "x.mp4")).prepare()


@pytest.mark.parametrize("uri", ["nosuchstore://bucket/x.mp4", "://x", "s3://[bucket/x.mp4"])
def test_a_store_nobody_knows_is_found_beforehand(uri: str) -> None:
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


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """An object store in memory, which Airflow reaches by memory:// like any other."""
    MemoryFileSystem.store.clear()
    yield fsspec.filesystem("memory")
    MemoryFileSystem.store.clear()


class CutOff(MemoryFileSystem):  # type: ignore[misc]
    """A store whose connection breaks at every upload."""

    protocol = "cutoff"
    cachable = False

    def put_file(self, *_: Any, **__: Any) -> None:
        raise ConnectionResetError("the store hung up")


@pytest.fixture
def cut_off(store: MemoryFileSystem) -> Iterator[None]:  # noqa: ARG001
    fsspec.register_implementation("cutoff", CutOff, clobber=True)
    yield
    fsspec.registry._registry.pop("cutoff", None)


def test_an_object_appears_whole_in_a_store(store: MemoryFileSystem) -> None:
    destination = Destination("memory://bucket/run/x.mp4")

    deliver(destination)

    assert store.cat("/bucket/run/x.mp4") == b"film"
    assert store.find("/") == ["/bucket/run/x.mp4"]
    assert str(destination) == "memory://bucket/run/x.mp4"
    assert destination.local_path is None


def test_an_object_is_staged_on_local_disk_and_the_staged_file_goes(store: MemoryFileSystem) -> None:
    destination = Destination("memory://bucket/x.mp4")
    destination.prepare()

    with destination.staging() as staged:
        assert staged.exists()
        assert store.find("/") == []

    assert not staged.exists()


def test_an_earlier_object_is_replaced(store: MemoryFileSystem) -> None:
    store.pipe("/bucket/x.mp4", b"earlier")

    deliver(Destination("memory://bucket/x.mp4"))

    assert store.cat("/bucket/x.mp4") == b"film"


def test_preparing_a_store_writes_nothing_to_it(store: MemoryFileSystem) -> None:
    Destination("memory://bucket/x.mp4").prepare()

    assert store.find("/") == []


@pytest.mark.usefixtures("cut_off")
def test_an_upload_that_breaks_off_leaves_the_earlier_object(store: MemoryFileSystem) -> None:
    store.pipe("/bucket/x.mp4", b"earlier")
    destination = Destination("memory://bucket/x.mp4")
    destination._remote = None  # type: ignore[method-assign]
