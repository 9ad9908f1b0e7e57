"""What DAG authors pass: outputs of mapped tasks, paths, numbers that native rendering makes, models of tomorrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_wan.operators.wan import (
    WanGenerateVideoOperator,
    WanReferenceToVideoOperator,
    WanSubmitVideoOperator,
    WanTextToVideoOperator,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

MUG, LAMP = "https://your-cdn.com/products/mug.png", "https://your-cdn.com/products/lamp.png"


def images(*urls: str) -> list[dict[str, str]]:
    return [{"type": "reference_image", "url": url} for url in urls]


def test_the_output_of_a_mapped_task_is_a_list_of_references(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("lazy", schedule=None) as dag:

        @task
        def url_of(name: str) -> str:
            return f"https://your-cdn.com/products/{name}.png"

        @task
        def signed(url: str) -> str:
            return f"{url}?OSSAccessKeyId=k&Expires=1&Signature=Hush-hush-12"

        urls = url_of.expand(name=["mug", "lamp"])
        common: dict[str, Any] = {"prompt": "image 1 and 2", "duration": 2}
        plain = WanReferenceToVideoOperator(task_id="plain", reference_image=urls, **common)
        mapped = WanReferenceToVideoOperator(
            task_id="mapped", reference_image=urls.map(lambda url: {"url": url}), **common
        )
        both = WanReferenceToVideoOperator(task_id="both", reference_image=urls.concat(urls), **common)
        secret = WanReferenceToVideoOperator(task_id="secret", reference_image=signed.expand(url=urls), **common)
        submit = WanSubmitVideoOperator(
            task_id="submit",
            model="wan2.7-r2v",
            prompt="image 1 and 2",
            media=urls.map(lambda url: {"type": "reference_image", "url": url}),
            parameters={"duration": 2},
        )
        plain >> mapped >> both >> secret >> submit

    run = run_dag(dag)

    assert run.state == "success"
    sent = [request["body"]["input"]["media"] for request in wan_emulator.requests()]
    assert sent[:3] == [images(MUG, LAMP), images(MUG, LAMP), images(MUG, LAMP, MUG, LAMP)]
    assert sent[4] == images(MUG, LAMP)
    assert len(sent) == len(wan_emulator.ledger()) == 5
    assert "mug.png" in json.dumps(run.rendered("plain"))
    assert "Hush-hush" not in json.dumps(run.rendered("secret"))


def test_paths_and_numbers_are_as_good_as_texts(
    run_dag: Any, wan_emulator: RunningEmulator, tmp_path: Path, videos: Path
) -> None:
    picture = tmp_path / "first.png"
    picture.write_bytes(_png())
    with DAG("paths", schedule=None, render_template_as_native_obj=True, params={"number": 5}) as dag:
        from_path = WanReferenceToVideoOperator(
            task_id="from_path",
            prompt="{{ params.number }}",
            reference_image=picture,
            duration=2,
            output_path=videos / "a.mp4",
        )
        from_store = WanReferenceToVideoOperator(
            task_id="from_store",
            prompt=7,  # type: ignore[arg-type]
            reference_image=[{"url": ObjectStoragePath(f"file://{picture}")}],
            duration=2,
            output_path=ObjectStoragePath(f"file://{videos}/b.mp4"),
        )
        from_path >> from_store

    run = run_dag(dag)

    assert run.state == "success"
    assert [request["body"]["input"]["prompt"] for request in wan_emulator.requests()] == ["5", "7"]
    assert sorted(path.name for path in videos.glob("*.mp4")) == ["a.mp4", "b.mp4"]


def test_a_model_outside_the_catalogue_is_accepted_by_what_was_sent(
    run_dag: Any, wan_emulator: RunningEmulator, monkeypatch: Any
) -> None:
    from airflow_wan.emulator import catalogue

    # The gateway of tomorrow: a model that this package does not know, with 1080P unless a request says otherwise.
    monkeypatch.setitem(
        catalogue.APIYI,
        "wan2.8-t2v",
        catalogue.replace(catalogue.ALIBABA["wan2.7-t2v"], name="wan2.8-t2v", default_duration_s=2),
    )
    with DAG("tomorrow", schedule=None) as dag:
        general = WanGenerateVideoOperator(task_id="general", model="wan2.8-t2v", prompt="x")
        named = WanTextToVideoOperator(task_id="named", model="wan2.8-t2v", prompt="x", duration=2)
        general >> named

    run = run_dag(dag)

    assert run.state == "success"
    assert [request["body"]["parameters"] for request in wan_emulator.requests()] == [
        {},
        {"resolution": "720P", "duration": 2},
    ]
    facts = run.xcom("general", key="wan_video")
    assert (facts["width"], facts["height"], facts["estimated_cost_usd"]) == (1920, 1080, None)
    assert run.xcom("named", key="wan_video")["height"] == 720


def _png() -> bytes:
    import io

    from PIL import Image

    target = io.BytesIO()
    Image.new("RGB", (640, 360), "teal").save(target, "PNG")
    return target.getvalue()
