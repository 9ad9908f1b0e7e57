"""`@task.wan_video`: what a function may return, how often it is called, and that no wish of it is bought twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_wan.decorators.wan import WanVideoArguments, _WanVideoDecoratedOperator, wan_video_task
from airflow_wan.exceptions import InvalidVideoRequest, RequestChanged, VideoDownloadFailed
from airflow_wan.operators.wan import WanGenerateVideoOperator
from airflow_wan.videos import delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import MediaServer


@pytest.fixture
def gateway(connect_to: Callable[[str], Any]) -> Any:
    return connect_to("dashscope")


class Function:
    """A function that counts its calls, and returns another thing each time."""

    def __init__(self, *returned: Any) -> None:
        self.returned, self.calls = returned, 0

    def __call__(self) -> Any:
        self.calls += 1
        return self.returned[min(self.calls, len(self.returned)) - 1]


@pytest.fixture
def task_of(tmp_path: Path) -> Callable[..., Any]:
    """Return a factory of tasks, as Airflow makes one from a decorated function."""

    def make(function: Callable[..., Any], **arguments: Any) -> Any:
        defaults: dict[str, Any] = {
            "task_id": "animate",
            "output_path": str(tmp_path / "film.mp4"),
            "poll_interval": 0.05,
            "resolution": "720P",
        }
        return _WanVideoDecoratedOperator(python_callable=function, **defaults | arguments)

    return make


def ordered(gateway: Any) -> list[dict[str, Any]]:
    return [row["request"] for row in gateway.emulator.ledger()]


def cut(*_: Any, **__: Any) -> None:
    raise VideoDownloadFailed("The connection to the file host failed.")


@pytest.mark.takes_time
@pytest.mark.parametrize("deferrable", [True, False])
def test_the_function_is_called_once_in_a_try_and_not_when_the_task_resumes(
    deferrable: bool, task_of: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    function = Function("A lighthouse in a storm.")

    path = runner.run(task_of(function, deferrable=deferrable, duration=2))

    assert path == str(tmp_path / "film.mp4")
    assert function.calls == 1
    assert len(runner.events) == (1 if deferrable else 0)
    assert len(gateway.emulator.ledger()) == 1
    assert runner.instance.xcoms["wan_status"]["prompt"] == "A lighthouse in a storm."


@pytest.mark.takes_time
def test_a_path_that_the_function_returned_outlives_the_wait(
    task_of: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    function = Function({"prompt": "Waves.", "duration": 2, "output_path": tmp_path / "returned.mp4"})

    path = runner.run(task_of(function, deferrable=True))

    assert path == str(tmp_path / "returned.mp4")
    assert Path(path).exists()
    assert not (tmp_path / "film.mp4").exists()
    assert function.calls == len(gateway.emulator.ledger()) == 1


@pytest.mark.parametrize(
    ("returned", "model"),
    [
        ({}, "wan2.7-t2v"),
        ({"first_frame": "frame"}, "wan2.7-i2v"),
        ({"first_frame": "frame", "last_frame": "frame"}, "wan2.7-i2v"),
        ({"reference_image": ["frame"]}, "wan2.7-r2v"),
        ({"reference_image": "frame", "first_frame": "frame"}, "wan2.7-r2v"),
        ({"model": "wan2.6-t2v"}, "wan2.6-t2v"),
    ],
)
def test_what_is_given_decides_which_model_makes_it(
    returned: dict[str, Any], model: str, task_of: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer
) -> None:
    url = media.url("frame.png")
    given = {
        name: url if value == "frame" else [url] if value == ["frame"] else value for name, value in returned.items()
    }

    runner.run(task_of(Function({"prompt": "Waves.", **given})))

    (row,) = gateway.emulator.ledger()
    assert row["model"] == model
    assert runner.instance.xcoms["wan_status"]["seconds"] == 5


def test_an_edit_is_as_long_as_its_source(task_of: Callable[..., Any]) -> None:
    task = task_of(Function())
    task.set_fields({"video": "https://your-cdn.com/clip.mp4"})

    assert task.made_by().__name__ == "WanEditVideoOperator"


def test_what_the_function_returns_is_over_what_the_decorator_says(
    task_of: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    function = Function({"prompt": "Snow.", "seed": None, "negative_prompt": "rain"})

    runner.run(task_of(function, prompt="Rain.", seed=7, duration=2))

    status = runner.instance.xcoms["wan_status"]
    assert status["prompt"] == "Snow."
    assert status["request"]["parameters"]["seed"] == 7
    assert status["request"]["input"]["negative_prompt"] == "rain"


REFUSED = {
    "a misspelt name": ({"promt": "x"}, "returned promt; did you mean prompt?"),
    "an argument of the task": ({"prompt": "x", "retries": 3}, "returned retries"),
    "a name that is none": ({5: "x"}, "returned 5"),
    "nothing": (None, "must return a prompt or a dict of arguments, got None"),
    "no words": ("  ", "must return a prompt"),
    "an empty dict": ({}, "must return a prompt"),
    "a list": (["x"], "must return a prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    case: str, task_of: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    returned, sentence = REFUSED[case]

    with pytest.raises(AirflowFailException) as failed:
        runner.run(task_of(Function(returned)))

    assert isinstance(failed.value, InvalidVideoRequest)
    assert sentence in str(failed.value)
    assert gateway.emulator.ledger() == []
    assert runner.instance.xcoms["wan_status"]["failure"]["kind"] == "InvalidVideoRequest"


def test_a_retry_after_other_words_stops_and_pays_nothing(
    task_of: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = Function("A red kite.", "A blue kite.")
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "download", cut)
        with pytest.raises(VideoDownloadFailed):
            runner.run(task_of(function, duration=2))

    with pytest.raises(RequestChanged, match="on_changed_request='keep'"):
        runner.run(task_of(function, duration=2))

    assert function.calls == 2
    assert len(gateway.emulator.ledger()) == 1


def test_a_retry_after_other_words_brings_home_what_was_bought_if_it_may(
    task_of: Callable[..., Any],
    gateway: Any,
    runner: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    function = Function("A red kite.", "A blue kite.")
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "download", cut)
        with pytest.raises(VideoDownloadFailed):
            runner.run(task_of(function, duration=2, on_changed_request="keep"))

    path = runner.run(task_of(function, duration=2, on_changed_request="keep"))

    assert Path(path).exists()
    assert runner.instance.xcoms["wan_status"]["prompt"] == "A red kite."
    assert "is the one that was bought then, for 'A red kite.'" in caplog.text
    assert len(gateway.emulator.ledger()) == 1


def test_a_retry_with_other_words_after_a_published_video_is_not_bought_again(
    task_of: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    function = Function("A red kite.", "A blue kite.")
    runner.run(task_of(function, duration=2), killed_before_success=True)

    with pytest.raises(RequestChanged):
        runner.run(task_of(function, duration=2))
    runner.run(task_of(function, duration=2, on_changed_request="keep"))

    assert len(gateway.emulator.ledger()) == 1


def test_a_task_that_is_cleared_after_its_success_buys_other_words_anew(
    task_of: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    function = Function("A red kite.", "A red kite.", "A blue kite.")

    for _ in range(2):
        runner.run(task_of(function, duration=2))
    assert len(gateway.emulator.ledger()) == 1
    runner.run(task_of(function, duration=2))

    assert len(gateway.emulator.ledger()) == 2


def test_a_function_that_fails_buys_nothing_and_one_that_skips_skips(
    task_of: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    def fail() -> str:
        raise KeyError("words")

    def skip() -> str:
        raise AirflowSkipException("no words today")

    with pytest.raises(KeyError):
        runner.run(task_of(fail))
    with pytest.raises(AirflowSkipException):
        runner.run(task_of(skip))

    assert "wan_status" not in runner.instance.xcoms
    assert gateway.emulator.ledger() == []


def test_a_skip_does_not_leave_a_paid_video_unsaid(
    task_of: Callable[..., Any], gateway: Any, runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def skip() -> str:
        raise AirflowSkipException("no words today")

    runner.run(task_of(Function("Waves."), duration=2), killed_before_success=True)

    with pytest.raises(AirflowSkipException):
        runner.run(task_of(skip))

    assert gateway.emulator.ledger()[0]["task_id"] in caplog.text


def test_what_the_function_returns_is_no_template(task_of: Callable[..., Any], gateway: Any, runner: Any) -> None:
    words = "{{ conn.wan_default.password }} {% raw %}"

    runner.run(task_of(Function(words), duration=2))

    assert runner.instance.xcoms["wan_status"]["prompt"] == words


def test_a_signature_in_what_the_function_returns_is_masked(
    task_of: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[str] = []
    monkeypatch.setattr("airflow_wan.operators.wan.mask_secret", masked.append)
    signature = "X-Amz-Signature=0123456789abcdef0123456789abcdef"

    runner.run(task_of(Function({"first_frame": f"{media.url('frame.png')}?{signature}", "duration": 2})))

    assert signature in masked
    assert signature not in repr((runner.instance.xcoms, runner.events))


def test_arguments_and_context_reach_the_function(task_of: Callable[..., Any], gateway: Any, runner: Any) -> None:
    given: dict[str, Any] = {}

    def words(subject: Path, *, mood: tuple[str, ...], ti: Any = None, **context: Any) -> str:
        given.update(subject=subject, mood=mood, run_id=ti.run_id, task_id=context["task"].task_id)
        return "Waves."

    runner.run(task_of(words, op_args=[Path("/mug")], op_kwargs={"mood": ("calm",)}, duration=2))

    assert given == {
        "subject": Path("/mug"),
        "mood": ("calm",),
        "run_id": runner.instance.run_id,
        "task_id": "animate",
    }


def test_the_type_names_the_templated_arguments_of_the_operators() -> None:
    fields = set(_WanVideoDecoratedOperator.template_fields)

    assert set(WanVideoArguments.__annotations__) == fields - {"op_args", "op_kwargs", "is_dry_run"}
    assert set(WanGenerateVideoOperator.template_fields) < fields


def test_a_function_that_is_annotated_to_return_a_dict_has_one_output() -> None:
    def describe() -> dict[str, Any]:
        return {"prompt": "Waves."}

    assert wan_video_task(describe).multiple_outputs is False  # type: ignore[attr-defined]
    assert wan_video_task(task_id="x")(describe).multiple_outputs is False  # type: ignore[attr-defined]


def test_several_outputs_are_refused_when_the_dag_is_read(task_of: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="one path"):
        task_of(Function("x"), multiple_outputs=True)


def test_a_dry_run_calls_the_function_and_buys_nothing(task_of: Callable[..., Any], gateway: Any, runner: Any) -> None:
    function = Function("Waves.")

    with pytest.raises(AirflowSkipException, match=r"about 0\.20 USD"):
        runner.run(task_of(function, duration=2, dry_run=True))

    assert function.calls == 1
    assert gateway.emulator.ledger() == []
