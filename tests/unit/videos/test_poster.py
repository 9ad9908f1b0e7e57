"""The first frame of a video, as a picture beside it."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image

from airflow_wan.exceptions import PosterError
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.poster import check_poster, leave_poster, make_poster

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


def test_a_poster_is_the_first_frame(film_file: Path) -> None:
    content = make_poster(film_file)

    with Image.open(io.BytesIO(content)) as poster, av.open(str(film_file)) as container:
        frame = next(container.decode(video=0)).to_image()
        assert (poster.format, poster.size) == ("JPEG", frame.size)
        first, shown = frame.convert("L").tobytes(), poster.convert("L").tobytes()
        assert sum(abs(a - b) for a, b in zip(first, shown, strict=True)) / len(first) < 5


def test_a_video_without_frames_has_no_poster(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no video")

    with pytest.raises(PosterError, match="could not be made"):
        make_poster(path)


def test_a_poster_replaces_only_a_poster(film_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    destination, photo = Destination(str(tmp_path / "film.mp4")), tmp_path / "film.jpg"
    photo.write_bytes(b"a photo")

    assert leave_poster(film_file, destination, ours=()) is None
    assert photo.read_bytes() == b"a photo"
    assert "film.jpg stays as it is" in caplog.text

    poster = leave_poster(film_file, destination, ours={hashlib.sha256(b"a photo").hexdigest()})
    assert poster is not None
    assert hashlib.sha256(photo.read_bytes()).hexdigest() == poster.sha256
    assert leave_poster(film_file, destination, ours=()) == poster


# A limit on the size of files breaks a write off in its middle, as a full disk does.
ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from airflow_wan.exceptions import DestinationError
from airflow_wan.videos.poster import leave_poster
from airflow_wan.videos.destination import Destination

destination = Destination(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
assert leave_poster(Path(sys.argv[1]), destination, ()) is None
try:
    destination.sidecar.write(bytes(100_000))
except DestinationError as error:
    assert "could not be written" in str(error)
else:
    raise AssertionError("the record was taken for written")
"""


@pytest.mark.parametrize("bytes_left", [0, 1, 500, 1500])
def test_on_a_full_disk_there_is_no_part_of_a_poster_or_record(
    film_file: Path, tmp_path: Path, bytes_left: int
) -> None:
    target = tmp_path / "films" / "film.mp4"
    target.parent.mkdir()
    assert len(make_poster(film_file)) > 1500

    subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(film_file), str(target), str(bytes_left)], check=True)

    assert list(target.parent.iterdir()) == []


def test_posters_are_available_with_pyav() -> None:
    check_poster()


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_the_extra_is_named_before_anything_is_made(film_file: Path) -> None:
    with pytest.raises(PosterError, match=r"pip install 'airflow-provider-wan\[inspection\]'"):
        check_poster()
    with pytest.raises(PosterError, match="inspection"):
        make_poster(film_file)
