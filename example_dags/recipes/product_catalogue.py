"""Product photos in a bucket become clips in that bucket, and a catalogue says which clip shows which product.

A photo that has its clip already is not paid for again, so you can run this whenever there are new photos.
`adapt_media` converts photos that the model does not take as they are, such as PNG with transparency; for the HEIC of
phones, it needs the extra `airflow-provider-wan[adapt]` on the workers.
"""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="recipe_product_catalogue",
    schedule=None,
    catchup=False,
    default_args={"retries": 2},
    tags=["wan", "recipe"],
    params={"bucket": Param("s3://aws_default@your-bucket", type="string", description="It has a folder photos/")},
) as dag:

    @task
    def list_photos(params: Any = None) -> list[dict[str, str]]:
        """Return for each photo the arguments of the task that animates it."""
        bucket = ObjectStoragePath(params["bucket"])
        photos = sorted((bucket / "photos").iterdir(), key=str)
        return [
            {"first_frame": str(photo), "output_path": str(bucket / "clips" / f"{photo.name}.mp4")}
            for photo in photos
            if photo.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".heic"}
        ]

    clips = WanImageToVideoOperator.partial(
        task_id="animate",
        prompt="The camera circles the product slowly, in soft studio light.",
        duration=5,
        adapt_media=True,
    ).expand_kwargs(list_photos())

    @task
    def write_catalogue(videos: list[dict[str, Any]], params: Any = None) -> str:
        """Write one line of JSON for each clip, and return where."""
        catalogue = ObjectStoragePath(params["bucket"]) / "clips" / "catalogue.jsonl"
        entries = [
            {"product": ObjectStoragePath(video["path"]).stem, **{name: video[name] for name in ("path", "duration_s")}}
            for video in videos
        ]
        catalogue.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        return str(catalogue)

    write_catalogue(clips.output["wan_video"])

if __name__ == "__main__":
    dag.test()
