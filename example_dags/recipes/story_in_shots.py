"""A story in shots: each shot starts from the picture that the shot before it ended with; all become one film.

The model makes clips of some seconds only. A longer story is made of several, and since each begins where the one
before ended, the cuts are hardly seen. If a shot fails, only that shot is made again. It needs the extra
`airflow-provider-wan[films]` on the workers.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_wan.films import join_clips, save_last_frame
from airflow_wan.operators.wan import WanImageToVideoOperator

SHOTS = (
    "A paper boat lies on a rainy street; a child's hand pushes it into the water of the gutter.",
    "The paper boat drifts down the gutter, faster and faster; the camera follows close behind.",
    "The paper boat glides out into a quiet pond at sunset; the camera rises.",
)

with DAG(
    dag_id="recipe_story_in_shots",
    schedule=None,
    catchup=False,
    default_args={"retries": 2},
    tags=["wan", "recipe"],
    params={"opening": Param("https://your-cdn.com/boat.png", type="string", description="The first picture")},
) as dag:

    @task
    def last_frame(clip: str) -> str:
        """Save the last frame of a clip as a picture, and return its path."""
        return save_last_frame(clip)

    @task
    def join(clips: list[str], film: str) -> str:
        """Join the clips to one film, and return its path."""
        return join_clips(clips, film)

    folder = "story/{{ dag_run.run_after | ts_nodash }}"
    picture, clips = "{{ params.opening }}", []
    for number, prompt in enumerate(SHOTS, start=1):
        shot = WanImageToVideoOperator(
            task_id=f"shot_{number}",
            prompt=prompt,
            first_frame=picture,
            duration=5,
            output_path=f"{folder}/shot-{number}.mp4",
        )
        clips.append(shot.output)
        if number < len(SHOTS):
            picture = last_frame.override(task_id=f"last_frame_{number}")(shot.output)

    join(clips, f"{folder}/film.mp4")

if __name__ == "__main__":
    dag.test()
