"""DashScope never answers a create: a retry takes a task of its list only if that task is proven to be its own.

All tasks have one prompt, length and resolution; they differ in the first frame. The answer for red arrives. The answer
for green is lost after the gateway has accepted the create. The create for blue is lost before the gateway sees it. At
the moment of each loss, another user of the account orders red.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import httpx
import pytest
from hostile_gateway import HostileGateway, Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from journeys import Journey, Stage

PROMPT = "waves that roll to the shore"
RESCUED = "is the one that an earlier try submitted without learning its id"
UNCERTAIN = "and never received an answer: the video may be in the making, and may be billed."
COLOURS = ("red", "green", "blue")


def order_red(request: Request, emulator: str) -> str:
    """Order red as another user of the account does, and return the id of the task.

    :param request: the create for another picture, which is copied.
    """
    body = request.body.replace(b"blue.png", b"red.png").replace(b"green.png", b"red.png")
    answer = httpx.post(emulator + request.path, headers=request.headers, content=body, trust_env=False)
    return str(answer.raise_for_status().json()["output"]["task_id"])


def colour_of(video: Path) -> str:
    """Return the colour that is strongest in the first frame of a video."""
    with av.open(str(video)) as container:
        picture = next(container.decode(video=0)).to_image().resize((1, 1)).getpixel((0, 0))
    return COLOURS[picture.index(max(picture))]


@dataclass(frozen=True)
class Runs:
    """The runs of this module.

    :param gateway: what loses creates.
    :param pair: a run of a mapped task: red is its instance 0, and blue its instance 1.
    :param green: a run of another DAG.
    :param others: for each colour that was lost, the task that another user of the account ordered then.
    """

    gateway: HostileGateway
    pair: Journey
    green: Journey
    others: dict[str, str]


@pytest.fixture(scope="module")
def runs(stage: Stage) -> Iterator[Runs]:
    """Order all three videos, and wait for the end of all runs."""
    others = {}

    def lose(request: Request) -> str | None:
        for colour, way in {"blue": "unsent", "green": "unanswered"}.items():
            if f"{colour}.png" in request:
                others[colour] = order_red(request, stage.quick.url)
                return way
        return None

    with HostileGateway(stage.quick.url, loses=lose) as gateway:
        shared = {"gateway": "dashscope", "through": gateway, "prompt": PROMPT}
        frames = [stage.media.url(f"{name}.png") for name in ("red", "blue")]
        folder = stage.folder / "videos" / "red and blue"
        green = stage.start("green", first_frame=stage.media.url("green.png"), **shared)
        pair = stage.start("red and blue", dag_id="system_mapped", frames=frames, output_path=folder, **shared)
        for journey in (green, pair):
            journey.wait_for_end()
        yield Runs(gateway, pair, green, others)


def test_a_task_with_the_same_words_and_another_picture_is_not_adopted(runs: Runs) -> None:
    assert runs.pair.wait_for_end() == "failed", runs.pair.log()

    assert runs.pair.state("video/1") == "failed"
    assert not (runs.pair.output_path / "1.mp4").exists()
    assert UNCERTAIN in runs.pair.log()


def test_the_candidates_are_listed_for_a_person(runs: Runs) -> None:
    stopped = [line for line in runs.pair.log().splitlines() if UNCERTAIN in line]

    assert stopped, runs.pair.log()
    assert all(runs.others["blue"] in line for line in stopped)


def test_the_other_instance_of_the_mapped_task_keeps_its_own_video(runs: Runs) -> None:
    assert runs.pair.state("video/0") == "success"
    assert colour_of(runs.pair.output_path / "0.mp4") == "red"


def test_a_task_whose_picture_proves_it_is_adopted(runs: Runs) -> None:
    assert runs.green.wait_for_end() == "success", runs.green.log()

    assert RESCUED in runs.green.log()
    assert colour_of(runs.green.output_path) == "green"


@pytest.mark.parametrize("colour", COLOURS)
def test_each_video_is_ordered_once(colour: str, runs: Runs) -> None:
    assert len([create for create in runs.gateway.creates() if f"{colour}.png" in create]) == 1
