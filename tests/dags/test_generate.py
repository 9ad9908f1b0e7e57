"""WanGenerateVideoOperator and WanImageToVideoOperator in DAGs."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Asset, ObjectStoragePath, task_group

from airflow_wan.operators.wan import (
    WanEditVideoOperator,
    WanGenerateVideoOperator,
    WanImageToVideoOperator,
    WanReferenceToVideoOperator,
    WanTextToVideoOperator,
)

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

RETRIED = {"retries": 2, "retry_delay": timedelta(0)}
PICTURE = "https://your-cdn.com/rap.png"


@pytest.mark.takes_time
def test_every_way_of_waiting_brings_a_video_home(run_dag: Any, watch_film: Any, wan_emulator: RunningEmulator) -> None:
    media = [{"type": "first_frame", "url": PICTURE}]
    parameters = {"resolution": "720P", "duration": 2}
    with DAG("ways_of_waiting", schedule=None) as dag:
        for deferrable in (True, False):
            WanGenerateVideoOperator(
                task_id=f"generate_{deferrable}",
                model="wan2.7-i2v",
                prompt="a kite",
                media=media,
                parameters=parameters,
                deferrable=deferrable,
            )
            WanImageToVideoOperator(
                task_id=f"animate_{deferrable}", prompt="a kite", first_frame=PICTURE, duration=2, deferrable=deferrable
            )

    run = run_dag(dag)

    assert run.state == "success"
    bills = {bill["task_id"]: bill for bill in wan_emulator.ledger()}
    assert len(bills) == 4
    for task_id in dag.task_ids:
        path, video = run.xcom(task_id), run.xcom(task_id, key="wan_video")
        assert watch_film(path).seconds == 2.0
        assert video["path"] == path
        assert bills.pop(video["wan_task_id"])["billed"]
        # Small, and nothing in it that opens a door.
        assert len(json.dumps(video)) < 1000
        assert "http" not in json.dumps(video)


def test_what_templates_render_becomes_what_the_wire_needs(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    params = {"picture": PICTURE, "seconds": 2, "mark": True, "seed": 7}
    with DAG("templates", schedule=None, params=params) as dag:
        WanGenerateVideoOperator.partial(
            task_id="generate",
            model="wan2.7-i2v",
            prompt="{{ dag.dag_id }}",
            parameters={
                "duration": "{{ params.seconds }}",
                "watermark": "{{ params.mark }}",
                "seed": "{{ params.seed }}",
            },
        ).expand(media=[[{"type": "first_frame", "url": "{{ params.picture }}"}]])

    run = run_dag(dag)

    assert run.state == "success"
    (request,) = wan_emulator.requests()
    assert request["body"] == {
        "model": "wan2.7-i2v",
        "input": {"prompt": "templates", "media": [{"type": "first_frame", "url": PICTURE}]},
        "parameters": {"resolution": "720P", "duration": 2, "watermark": True, "seed": 7},
    }
    rendered = run.rendered("generate", map_index=0)
    assert rendered["prompt"] == "templates"
    assert rendered["media"] == [{"type": "first_frame", "url": PICTURE}]
    assert rendered["parameters"] == {"duration": "2", "watermark": "True", "seed": "7"}


@pytest.mark.parametrize(
    "shared",
    [
        "{base}/film.mp4",
        "{base}/{{{{ task.task_id }}}}.mp4",
        "{base}/{{{{ ti.dag_id }}}}/{{{{ ti.map_index // 100 }}}}.mp4",
        "{{{{ macros.time.gmtime(0).tm_year }}}}.mp4",
    ],
)
def test_mapped_instances_that_would_overwrite_each_others_video_buy_one_only(
    run_dag: Any, wan_emulator: RunningEmulator, tmp_path: Path, shared: str
) -> None:
    with DAG("shared_path", schedule=None) as dag:
        WanImageToVideoOperator.partial(
            task_id="film", first_frame=PICTURE, duration=2, output_path=shared.format(base=tmp_path)
        ).expand(prompt=["a kite", "a mug", "a lamp"])

    run = run_dag(dag)

    states = [run.task_state("film", index) for index in range(3)]
    assert sorted(states) == ["failed", "failed", "success"]
    video = run.xcom("film", key="wan_video", map_index=states.index("success"))
    assert [bill["task_id"] for bill in wan_emulator.ledger()] == [video["wan_task_id"]]


def test_instances_of_a_mapped_group_that_share_a_path_buy_one_only(
    run_dag: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    with DAG("shared_by_group", schedule=None) as dag:

        @task_group
        def clip(prompt: str) -> None:
            WanImageToVideoOperator(
                task_id="film",
                first_frame=PICTURE,
                duration=2,
                prompt=prompt,
                output_path=f"{tmp_path}/{{{{ task.task_id }}}}.mp4",
            )

        clip.expand(prompt=["a kite", "a mug"])

    run = run_dag(dag)

    assert sorted(run.task_state("clip.film", index) for index in range(2)) == ["failed", "success"]
    assert len(wan_emulator.ledger()) == 1


def test_mapped_instances_with_paths_of_their_own_all_buy(
    run_dag: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    def film(**arguments: Any) -> Any:
        return WanImageToVideoOperator.partial(first_frame=PICTURE, duration=2, **arguments)

    with DAG("own_paths", schedule=None, user_defined_macros={"place": lambda index: f"p{index}"}) as dag:
        prompts = ["a kite", "a mug"]
        film(task_id="index", output_path=f"{tmp_path}/i-{{{{ ti.map_index }}}}.mp4").expand(prompt=prompts)
        film(task_id="macro", output_path=f"{tmp_path}/{{{{ place(ti.map_index) }}}}.mp4").expand(prompt=prompts)
        film(task_id="folder", output_path=f"{tmp_path}/").expand(prompt=prompts)
        film(task_id="nothing").expand(prompt=prompts)
        film(task_id="mapped").expand_kwargs(
            [{"prompt": prompt, "output_path": f"{tmp_path}/m-{prompt}.mp4"} for prompt in prompts]
        )
        film(task_id="overridden", output_path=f"{tmp_path}/default.mp4").expand_kwargs(
            [{"prompt": prompt, "output_path": f"{tmp_path}/o-{prompt}.mp4"} for prompt in prompts], strict=False
        )

        @task_group
        def clip(prompt: str, output_path: str) -> None:
            WanImageToVideoOperator(
                task_id="film", first_frame=PICTURE, duration=2, prompt=prompt, output_path=output_path
            )

        clip.expand_kwargs([{"prompt": prompt, "output_path": f"{tmp_path}/g-{prompt}.mp4"} for prompt in prompts])

    run = run_dag(dag)

    assert run.state == "success"
    assert len(wan_emulator.ledger()) == 14
    tasks = ["index", "macro", "folder", "nothing", "mapped", "overridden", "clip.film"]
    assert len({run.xcom(task_id, map_index=index) for task_id in tasks for index in range(2)}) == 14


def test_an_output_path_may_be_absent_absolute_relative_or_a_folder(
    run_dag: Any, watch_film: Any, videos: Path, tmp_path: Path
) -> None:
    places = {
        "absent": None,
        "absolute": f"{tmp_path}/{{{{ dag.dag_id }}}}/final.mp4",
        "relative": "{{ task.task_id }}/final.mp4",
        "folder": f"{tmp_path}/folder/",
    }
    with DAG("output_paths", schedule=None) as dag:
        for task_id, output_path in places.items():
            WanImageToVideoOperator(
                task_id=task_id, prompt="a kite", first_frame=PICTURE, duration=2, output_path=output_path
            )

    run = run_dag(dag)

    assert run.state == "success"
    paths = {task_id: Path(run.xcom(task_id)) for task_id in places}
    assert paths["absolute"] == tmp_path / "output_paths" / "final.mp4"
    assert paths["relative"] == videos / "relative" / "final.mp4"
    assert paths["absent"].is_relative_to(videos / "output_paths")
    assert paths["absent"].name == "absent.mp4"
    assert paths["folder"].is_relative_to(tmp_path / "folder" / "output_paths")
    for path in paths.values():
        assert watch_film(str(path)).seconds == 2.0
        assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}.json"}


def test_an_output_path_may_be_a_path_object_or_a_number(run_dag: Any, videos: Path, tmp_path: Path) -> None:
    places = {
        "path": tmp_path / "{{ task.task_id }}.mp4",
        "storage": ObjectStoragePath(f"file://{tmp_path}/{{{{ task.task_id }}}}.mp4"),
        "number": "{{ 40 + 2 }}",
    }
    with DAG("path_objects", schedule=None, render_template_as_native_obj=True) as dag:
        for task_id, output_path in places.items():
            WanImageToVideoOperator(
                task_id=task_id, prompt="a kite", first_frame=PICTURE, duration=2, output_path=output_path
            )

    run = run_dag(dag)

    assert run.state == "success"
    assert run.xcom("path") == str(tmp_path / "path.mp4")
    assert run.xcom("storage") == str(tmp_path / "storage.mp4")
    assert run.xcom("number") == str(videos / "42")


def test_an_outlet_may_refer_to_an_asset(run_dag: Any, airflow_db: Path, tmp_path: Path) -> None:
    with DAG("referred_asset", schedule=None) as dag:
        for task_id, outlet in {
            "asset": Asset(name="referred_clip", uri="file:///referred/clip.mp4"),
            "by_name": Asset.ref(name="referred_clip"),
            "by_uri": Asset.ref(uri="file:///referred/clip.mp4"),
        }.items():
            WanImageToVideoOperator(task_id=task_id, prompt=task_id, first_frame=PICTURE, duration=2, outlets=[outlet])

    run = run_dag(dag)

    assert run.state == "success"
    with sqlite3.connect(airflow_db) as database:
        events = database.execute(
            "SELECT source_task_id, extra FROM asset_event WHERE source_dag_id = 'referred_asset'"
        ).fetchall()
    told = {task_id: json.loads(extra).get("path") for task_id, extra in events}
    assert told == {task_id: run.xcom(task_id) for task_id in ("asset", "by_name", "by_uri")}


def test_a_video_that_fails_ends_its_task_for_good_with_the_gateways_code(
    run_dag: Any, wan_emulator: RunningEmulator, videos: Path
) -> None:
    with DAG("failures", schedule=None, default_args=RETRIED) as dag:
        for deferrable in (True, False):
            WanImageToVideoOperator(
                task_id=f"not_a_picture_{deferrable}",
                prompt="a kite",
                first_frame="https://your-cdn.com/notes.txt",
                deferrable=deferrable,
            )

    run = run_dag(dag)

    assert run.state == "failed"
    for task_id in dag.task_ids:
        assert isinstance(run.error(task_id), AirflowFailException)
        assert "InvalidImageFormat" in str(run.error(task_id))
        assert (run.task_state(task_id), run.tries(task_id)) == ("failed", 1)
    assert [bill["billed"] for bill in wan_emulator.ledger()] == [False, False]
    assert not [path for path in videos.rglob("*") if path.is_file()]


def test_a_request_that_cannot_succeed_is_never_sent(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("nonsense", schedule=None, default_args=RETRIED) as dag:
        WanImageToVideoOperator(
            task_id="animate", prompt="a kite", first_frame="me/rap.png", duration="ten", resolution="720p"
        )

    run = run_dag(dag)

    assert run.state == "failed"
    assert run.tries("animate") == 1
    assert wan_emulator.requests() == []
    message = str(run.error("animate"))
    for problem in ("me/rap.png", "ten", "720p"):
        assert problem in message


def test_each_capability_has_an_operator_that_says_it_in_the_apis_words(
    run_dag: Any, wan_emulator: RunningEmulator
) -> None:
    params = {"voice": "https://your-cdn.com/rap.mp3", "seconds": 3}
    with DAG("capabilities", schedule=None, params=params) as dag:
        WanTextToVideoOperator(
            task_id="text", prompt="a kite", ratio="9:16", duration="{{ params.seconds }}", negative_prompt="rain"
        )
        WanReferenceToVideoOperator.partial(
            task_id="reference", prompt="image 1 sings", duration=2, ratio="1:1"
        ).expand(reference_image=[[{"url": PICTURE, "reference_voice": "{{ params.voice }}"}, PICTURE], PICTURE])
        WanEditVideoOperator(
            task_id="edit", prompt="a red coat", video="https://your-cdn.com/clip.mp4", reference_image=[PICTURE]
        )

    run = run_dag(dag)

    assert run.state == "success"
    bodies = {request["body"]["model"]: request["body"] for request in wan_emulator.requests()}
    assert bodies["wan2.7-t2v"] == {
        "model": "wan2.7-t2v",
        "input": {"prompt": "a kite", "negative_prompt": "rain"},
        "parameters": {"resolution": "720P", "duration": 3, "ratio": "9:16"},
    }
    assert bodies["wan2.7-videoedit"] == {
        "model": "wan2.7-videoedit",
        "input": {
            "prompt": "a red coat",
            "media": [
                {"type": "video", "url": "https://your-cdn.com/clip.mp4"},
                {"type": "reference_image", "url": PICTURE},
            ],
        },
        "parameters": {"resolution": "720P"},
    }
    references = [
        request["body"]["input"]["media"]
        for request in wan_emulator.requests()
        if request["body"]["model"] == "wan2.7-r2v"
    ]
    voiced = {"type": "reference_image", "url": PICTURE, "reference_voice": "https://your-cdn.com/rap.mp3"}
    silent = {"type": "reference_image", "url": PICTURE}
    assert sorted(references, key=len) == [[silent], [voiced, silent]]
    assert run.xcom("edit", key="wan_video")["model"] == "wan2.7-videoedit"
