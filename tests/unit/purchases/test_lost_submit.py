"""Which task of the gateway's list is taken for the one whose answer was lost: the one that is proven to be it."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task_group
from media_files import tone
from PIL import Image, ImageEnhance

from airflow_wan.api.client import WanClient
from airflow_wan.api.requests import build_video_request
from airflow_wan.emulator.testing import MediaServer
from airflow_wan.exceptions import GatewayUnavailable, SubmitAmbiguous
from airflow_wan.hooks.wan import WanHook
from airflow_wan.media import frames
from airflow_wan.operators.wan import WanImageToVideoOperator, WanTextToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import SimpleNamespace

PROMPT = "The clouds drift."
NOT_ACCEPTED = {"kind": "drop_connection", "accepted": False}
ACCEPTED = {"kind": "drop_connection"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("pictures")
    light = Image.radial_gradient("L").resize((640, 360)).convert("RGB")
    for colour in ("red", "blue"):
        Image.blend(Image.new("RGB", light.size, colour), light, 0.4).save(folder / f"{colour}.png")
    ImageEnhance.Brightness(Image.open(folder / "red.png")).enhance(1.04).save(folder / "reddish.png")
    (folder / "voice.mp3").write_bytes(tone(seconds=3))
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def gateway(connect_to: Callable[[str], SimpleNamespace], no_pauses: None) -> SimpleNamespace:
    return connect_to("dashscope")


@pytest.fixture
def animate(pictures: MediaServer, tmp_path: Path) -> Callable[..., Any]:
    def make(colour: str = "red", **arguments: Any) -> WanImageToVideoOperator:
        defaults: dict[str, Any] = {
            "task_id": "animate",
            "prompt": PROMPT,
            "first_frame": pictures.url(f"{colour}.png"),
            "duration": 2,
            "output_path": str(tmp_path / "film.mp4"),
            "poll_interval": 0.05,
            "deferrable": False,
        }
        return WanImageToVideoOperator(**defaults | arguments)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Any]:
    """Makes text-to-video tasks, in a DAG of their own."""

    def make(**arguments: Any) -> WanTextToVideoOperator:
        with DAG("films", schedule=None):
            return WanTextToVideoOperator(
                **{
                    "task_id": "animate",
                    "prompt": PROMPT,
                    "duration": 2,
                    "output_path": str(tmp_path / "film.mp4"),
                    "poll_interval": 0.05,
                    "deferrable": False,
                    **arguments,
                }
            )

    return make


@pytest.fixture
def somebody_buys(pictures: MediaServer) -> Callable[..., str]:
    """Buys a video with the same account, outside this task instance, and returns its Wan task."""

    def buy(colour: str | None = None, prompt: str = PROMPT, model: str | None = None, **parameters: Any) -> str:
        account = WanHook("wan_default").account
        media = [{"type": "first_frame", "url": pictures.url(f"{colour}.png")}] if colour else None
        request = build_video_request(
            gateway=account.gateway,
            base_url=account.base_url,
            model=model or ("wan2.7-i2v" if colour else "wan2.7-t2v"),
            prompt=prompt,
            media=media,
            parameters={"duration": 2, "resolution": "720P", **parameters},
        )
        with WanClient(account) as client:
            return client.create(request).wan_task_id

    return buy


def lose_the_answer(gateway: Any, runner: Any, task: Any, **fault: Any) -> list[str]:
    """Run a try whose create request gets no answer; return the Wan tasks that it made."""
    before = {row["task_id"] for row in gateway.emulator.ledger()}
    gateway.emulator.add_fault(on="create", **fault)
    with pytest.raises(SubmitAmbiguous):
        runner.run(task)
    return [row["task_id"] for row in gateway.emulator.ledger() if row["task_id"] not in before]


def stopped(gateway: Any, runner: Any, task: Any) -> str:
    """Run a try that has to stop for a person without a create request; return its message."""
    sent = len(gateway.emulator.requests())
    with pytest.raises(AirflowFailException, match="may be in the making") as raised:
        runner.run(task)
    assert len(gateway.emulator.requests()) == sent
    return str(raised.value)


def landed(runner: Any) -> str:
    return str(runner.instance.xcoms["wan_video"]["wan_task_id"])


# A first frame was sent -----------------------------------------------------------------------------------------------


def test_the_only_task_with_our_prompt_and_picture_is_ours(gateway: Any, runner: Any, animate: Any) -> None:
    (ours,) = lose_the_answer(gateway, runner, animate(), **ACCEPTED)

    runner.run(animate())

    assert landed(runner) == ours
    assert len(gateway.emulator.ledger()) == 1


def test_a_video_that_begins_with_another_picture_is_not_ours(
    gateway: Any, runner: Any, animate: Any, somebody_buys: Any, tmp_path: Path
) -> None:
    """Two tasks, one prompt, a red and a blue first frame; blue's create was never accepted."""
    assert lose_the_answer(gateway, runner, animate("blue"), **NOT_ACCEPTED) == []
    red = somebody_buys("red")

    message = stopped(gateway, runner, animate("blue"))

    assert red in message
    assert "Signature" not in message
    assert not (tmp_path / "film.mp4").exists()


def test_of_two_tasks_with_our_prompt_the_one_with_our_picture_is_ours(
    gateway: Any, runner: Any, animate: Any, somebody_buys: Any
) -> None:
    (ours,) = lose_the_answer(gateway, runner, animate("blue"), **ACCEPTED)
    somebody_buys("red")
    somebody_buys("blue", prompt="Snow falls.")
    somebody_buys("blue", duration=4)
    somebody_buys("blue", resolution="1080P")

    runner.run(animate("blue"))

    assert landed(runner) == ours


@pytest.mark.parametrize("other", ["red", "reddish"])
def test_two_tasks_with_the_same_or_nearly_the_same_picture_prove_nothing(
    other: str, gateway: Any, runner: Any, animate: Any, somebody_buys: Any
) -> None:
    (ours,) = lose_the_answer(gateway, runner, animate("red"), **ACCEPTED)
    theirs = somebody_buys(other)

    message = stopped(gateway, runner, animate("red"))

    assert ours in message
    assert theirs in message


def test_a_picture_much_like_ours_is_no_proof(gateway: Any, runner: Any, animate: Any, somebody_buys: Any) -> None:
    lose_the_answer(gateway, runner, animate("reddish"), **NOT_ACCEPTED)
    somebody_buys("red")

    assert "neither surely the picture" in stopped(gateway, runner, animate("reddish"))


def test_a_picture_that_has_changed_since_is_no_proof(
    gateway: Any, runner: Any, animate: Any, pictures: MediaServer, tmp_path: Path
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    picture = folder / "picture.png"
    Image.new("RGB", (640, 360), "red").save(picture)
    lose_the_answer(gateway, runner, animate(first_frame=str(picture)), **ACCEPTED)
    Image.new("RGB", (640, 360), "green").save(picture)

    assert "changed since" in stopped(gateway, runner, animate(first_frame=str(picture)))


def test_a_picture_that_cannot_be_reached_from_here_proves_nothing(
    gateway: Any, runner: Any, animate: Any, pictures: MediaServer
) -> None:
    gone = animate(first_frame=pictures.url("red.png"))
    (ours,) = lose_the_answer(gateway, runner, gone, **ACCEPTED)
    while gateway.emulator.ledger()[0]["status"] != "SUCCEEDED":  # the gateway has read the picture
        time.sleep(0.02)
    picture = pictures._directory / "red.png"
    moved = picture.rename(pictures._directory / "moved.png")
    try:
        message = stopped(gateway, runner, gone)
    finally:
        moved.rename(picture)

    assert ours in message
    assert "cannot be read from here" in message


def test_a_data_uri_is_compared_too(gateway: Any, runner: Any, animate: Any) -> None:
    import base64

    content = io.BytesIO()
    Image.linear_gradient("L").resize((640, 360)).save(content, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    (ours,) = lose_the_answer(gateway, runner, animate(first_frame=uri), **ACCEPTED)

    runner.run(animate(first_frame=uri))

    assert landed(runner) == ours


def test_without_pyav_a_picture_proves_nothing(
    gateway: Any, runner: Any, animate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (ours,) = lose_the_answer(gateway, runner, animate(), **ACCEPTED)
    monkeypatch.setitem(sys.modules, "av", None)
    assert frames.pyav() is None

    message = stopped(gateway, runner, animate())

    assert ours in message
    assert "airflow-provider-wan[inspection]" in message


def test_media_that_leave_no_trace_to_compare_prove_nothing(
    gateway: Any, runner: Any, animate: Any, pictures: MediaServer
) -> None:
    voiced = {"driving_audio": pictures.url("voice.mp3")}
    (ours,) = lose_the_answer(gateway, runner, animate(**voiced), **ACCEPTED)

    message = stopped(gateway, runner, animate(**voiced))

    assert ours in message
    assert "driving_audio" in message


def test_a_changed_request_is_compared_with_nothing(gateway: Any, runner: Any, animate: Any) -> None:
    lose_the_answer(gateway, runner, animate(), **ACCEPTED)

    assert "has changed since" in stopped(gateway, runner, animate(seed=5))


def test_a_video_that_cannot_be_fetched_for_now_is_compared_by_the_next_try(
    gateway: Any, runner: Any, animate: Any
) -> None:
    (ours,) = lose_the_answer(gateway, runner, animate(), **ACCEPTED)
    gateway.emulator.add_fault(on="download", kind="reset", times=3)
    with pytest.raises(GatewayUnavailable):
        runner.run(animate())

    runner.run(animate())

    assert landed(runner) == ours
    assert len(gateway.emulator.ledger()) == 1


# Nothing but words was sent -------------------------------------------------------------------------------------------


def test_the_only_task_with_our_words_is_ours(gateway: Any, runner: Any, write: Any, somebody_buys: Any) -> None:
    (ours,) = lose_the_answer(gateway, runner, write(), **ACCEPTED)
    somebody_buys(prompt="Snow falls.")
    somebody_buys(duration=5)

    runner.run(write())

    assert landed(runner) == ours


def test_two_tasks_with_our_words_prove_nothing(gateway: Any, runner: Any, write: Any, somebody_buys: Any) -> None:
    candidates = [*lose_the_answer(gateway, runner, write(), **ACCEPTED), somebody_buys()]

    message = stopped(gateway, runner, write())

    assert all(candidate in message for candidate in candidates)


@pytest.mark.parametrize("holder", ["animate", "submit"])
def test_a_task_that_another_task_instance_holds_is_not_ours(
    holder: str, gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    lose_the_answer(gateway, runner, write(), **NOT_ACCEPTED)
    theirs = somebody_buys()
    runner.instance.others = {holder: [theirs]}
    task = write()
    WanTextToVideoOperator(task_id="submit", prompt="x", dag=task.dag)

    assert theirs not in stopped(gateway, runner, task)


@pytest.mark.parametrize("others", [[None], ["another", None]])
def test_an_instance_of_a_mapped_task_may_hold_it_without_saying_so_yet(
    others: list[str | None], gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    runner.instance.map_index = 1
    lose_the_answer(gateway, runner, write(), **NOT_ACCEPTED)
    theirs = somebody_buys()
    runner.instance.others = {"animate": others}

    message = stopped(gateway, runner, write())

    assert theirs in message
    assert "mapped task" in message


def test_of_a_mapped_task_of_which_each_other_instance_holds_one_the_last_one_is_ours(
    gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    runner.instance.map_index = 1
    (ours,) = lose_the_answer(gateway, runner, write(), **ACCEPTED)
    runner.instance.others = {"animate": [somebody_buys(), somebody_buys()]}

    runner.run(write())

    assert landed(runner) == ours


def test_of_two_task_instances_that_take_one_task_the_later_one_sees_it(
    gateway: Any, runner: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ours,) = lose_the_answer(gateway, runner, write(), **ACCEPTED)
    push = type(runner.instance).xcom_push

    def push_when_another_has_pushed(self: Any, key: str, value: Any) -> None:
        self.others = {"animate": [ours]}
        push(self, key, value)

    monkeypatch.setattr(type(runner.instance), "xcom_push", push_when_another_has_pushed)

    assert "Another task instance has taken" in stopped(gateway, runner, write())


def test_an_xcom_back_end_that_is_away_leaves_it_to_a_person(
    gateway: Any, runner: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_answer(gateway, runner, write(), **ACCEPTED)

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(type(runner.instance), "xcom_pull", away)

    assert "other task instances hold" in stopped(gateway, runner, write())


@pytest.mark.parametrize("model", ["wan2.7-t2v", "wan2.6-t2v"])
def test_a_video_of_another_shape_is_not_ours(
    model: str, gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    shape = {"parameters": {"size": "720*1280"}} if model == "wan2.6-t2v" else {"ratio": "9:16"}
    lose_the_answer(gateway, runner, write(model=model), **NOT_ACCEPTED)
    theirs = somebody_buys(model=model, resolution=None, **{"ratio": None} | shape.pop("parameters", {}) | shape)

    assert theirs in stopped(gateway, runner, write(model=model))


@pytest.mark.parametrize("model", ["wan2.7-t2v", "wan2.6-t2v", "wan3.0-video"])
@pytest.mark.parametrize("ratio", ["9:16", "4:3", None])
def test_a_video_of_our_shape_is_ours(model: str, ratio: str | None, gateway: Any, runner: Any, write: Any) -> None:
    task = {"model": model, "ratio": ratio}
    (ours,) = lose_the_answer(gateway, runner, write(**task), **ACCEPTED)

    runner.run(write(**task))

    assert landed(runner) == ours


@pytest.mark.parametrize("prompt", [PROMPT, "{{ params.prompt }}"])
def test_another_task_of_the_run_may_have_ordered_the_same_words(
    prompt: str, gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    lose_the_answer(gateway, runner, write(seed=1), **NOT_ACCEPTED)
    theirs = somebody_buys(seed=2)
    runner.instance.others = {"take_2": [None]}
    task = write(seed=1)
    WanTextToVideoOperator(task_id="take_2", prompt=prompt, duration=2, seed=2, dag=task.dag)

    message = stopped(gateway, runner, task)

    assert theirs in message
    assert "Another task of this DAG run" in message


def test_other_tasks_of_the_run_are_no_obstacle_if_they_hold_a_task_or_ordered_something_else(
    gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    (ours,) = lose_the_answer(gateway, runner, write(), **ACCEPTED)
    runner.instance.others = {"take_2": [somebody_buys()], "words": [None], "model": [None], "later": [None]}
    task = write()
    WanTextToVideoOperator(task_id="take_2", prompt=PROMPT, duration=2, dag=task.dag)
    WanTextToVideoOperator(task_id="words", prompt="Snow falls.", dag=task.dag)
    WanTextToVideoOperator(task_id="model", prompt=PROMPT, model="wan2.6-t2v", dag=task.dag)
    WanTextToVideoOperator(task_id="later", prompt=PROMPT, dag=task.dag).set_upstream(task)
    runner.instance.states = {"later": [None]}

    runner.run(task)

    assert landed(runner) == ours


@pytest.mark.parametrize("prompt", [PROMPT + "\n", PROMPT + "{# take 2 #}"])
def test_words_that_render_to_ours_are_ours(
    prompt: str, gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    lose_the_answer(gateway, runner, write(), **NOT_ACCEPTED)
    theirs = somebody_buys()
    runner.instance.others = {"take_2": [None]}
    task = write()
    WanTextToVideoOperator(task_id="take_2", prompt=prompt, duration=2, dag=task.dag)

    assert theirs in stopped(gateway, runner, task)


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_words_in_extra_body_may_be_the_same(
    who: str, gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    extra = {"extra_body": {"input": {"prompt": PROMPT}}, "prompt": "…"}
    ours, theirs = (extra, {}) if who == "ours" else ({}, extra)
    lose_the_answer(gateway, runner, write(**ours), **NOT_ACCEPTED)
    bought = somebody_buys()
    runner.instance.others = {"take_2": [None]}
    task = write(**ours)
    WanTextToVideoOperator(**{"task_id": "take_2", "prompt": PROMPT, "duration": 2, "dag": task.dag, **theirs})

    assert bought in stopped(gateway, runner, task)


def test_a_task_downstream_may_run_already(gateway: Any, runner: Any, write: Any, somebody_buys: Any) -> None:
    """With a trigger rule such as one_success, for an earlier instance of this mapped task has succeeded."""
    lose_the_answer(gateway, runner, write(), **NOT_ACCEPTED)
    theirs = somebody_buys()
    runner.instance.others = {"take_2": [None]}
    runner.instance.states = {"take_2": ["up_for_retry"]}
    task = write()
    WanTextToVideoOperator(
        task_id="take_2", prompt=PROMPT, duration=2, trigger_rule="one_success", dag=task.dag
    ).set_upstream(task)

    assert theirs in stopped(gateway, runner, task)


@pytest.mark.parametrize("other", ["up_for_retry", None])
def test_in_a_mapped_task_group_the_next_task_of_another_index_may_run_already(
    other: str | None, gateway: Any, runner: Any, tmp_path: Path, somebody_buys: Any
) -> None:
    def take(name: str) -> WanTextToVideoOperator:
        path = str(tmp_path / f"{name}-{{{{ ti.map_index }}}}.mp4")
        return WanTextToVideoOperator(
            task_id=name, prompt=PROMPT, duration=2, output_path=path, poll_interval=0.05, deferrable=False
        )

    with DAG("films", schedule=None) as dag:

        @task_group
        def clip(colour: str) -> None:
            take("take_1") >> take("take_2")

        clip.expand(colour=["red", "blue"])
    ours: Any = dag.get_task("clip.take_1")
    runner.instance.map_index = 1
    accepted = lose_the_answer(gateway, runner, ours, **(ACCEPTED if other is None else NOT_ACCEPTED))
    theirs = somebody_buys()
    runner.instance.others = {
        "clip.take_1": [theirs if other is None else somebody_buys()],
        "clip.take_2": [None, None],
    }
    runner.instance.states = {"clip.take_2": [other, None]}

    if other is None:
        runner.run(ours)
        assert landed(runner) == accepted[0]
    else:
        assert theirs in stopped(gateway, runner, ours)


def test_what_an_instance_holds_that_the_run_leaves_out_by_now_stands_for_no_other_one(
    gateway: Any, runner: Any, write: Any, somebody_buys: Any
) -> None:
    """The list that a task is mapped over has become shorter since the run was cleared."""
    runner.instance.map_index = 0
    lose_the_answer(gateway, runner, write(), **NOT_ACCEPTED)
    runner.instance.others = {"animate": [None, somebody_buys()]}
    runner.instance.states = {"animate": ["up_for_retry", "removed"]}
    theirs = somebody_buys()

    assert theirs in stopped(gateway, runner, write())


# APIYI, whose list a system token opens -------------------------------------------------------------------------------


def test_apiyi_tells_no_prompt_so_its_list_names_the_candidates_alone(
    gateway: Any, runner: Any, animate: Any, connect: Callable[..., None]
) -> None:
    connect(gateway.emulator.base_url, gateway="apiyi", system_token="owner-token-0123456789")
    (ours,) = lose_the_answer(gateway, runner, animate(), **ACCEPTED)

    message = stopped(gateway, runner, animate())

    assert ours in message
    assert "owner-token" not in message


def test_a_refused_system_token_leaves_it_to_a_person(
    gateway: Any, runner: Any, animate: Any, connect: Callable[..., None]
) -> None:
    connect(gateway.emulator.base_url, gateway="apiyi", system_token="sk-is-no-system-token")
    lose_the_answer(gateway, runner, animate(), **ACCEPTED)

    assert "cannot be searched" in stopped(gateway, runner, animate())
