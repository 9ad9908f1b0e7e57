"""``@task.wan_video``: a function returns what the video should be, and the task makes it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, TypedDict, cast, overload

from airflow.providers.common.compat.sdk import DecoratedOperator, determine_kwargs, task_decorator_factory

from airflow_wan.api.arguments import is_unset, show, show_name
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.operators.wan import (
    CapabilityOperator,
    Reference,
    WanEditVideoOperator,
    WanImageToVideoOperator,
    WanReferenceToVideoOperator,
    WanTextToVideoOperator,
)
from airflow_wan.purchases.ledger import open_ledger
from airflow_wan.videos.airflow_errors import errors_for_airflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath
    from airflow.sdk.bases.decorator import Task
    from airflow.triggers.base import BaseTrigger

    from airflow_wan.triggers.wan import WanVideoTrigger

__all__ = ["WanVideoArguments", "wan_video_task"]

P = ParamSpec("P")


class WanVideoArguments(TypedDict, total=False):
    """What the function of a ``@task.wan_video`` may return, in place of the prompt alone.

    These are the templated arguments of the operators, with their meaning there. What is missing, or None, is as the
    decorator says, or else as the operators have it.
    """

    prompt: str | None
    first_frame: str | None
    last_frame: str | None
    driving_audio: str | None
    reference_image: Reference | Sequence[Reference] | None
    reference_video: Reference | Sequence[Reference] | None
    video: str | None
    media: Sequence[Mapping[str, Any]] | None
    audio_url: str | None
    model: str | None
    negative_prompt: str | None
    resolution: str | None
    duration: int | str | None
    ratio: str | None
    audio_setting: str | None
    prompt_extend: bool | str | None
    watermark: bool | str | None
    seed: int | str | None
    parameters: Mapping[str, Any] | None
    extra_body: Mapping[str, Any] | None
    max_cost: float | str | None
    output_path: str | PathLike[str] | ObjectStoragePath | None
    wan_conn_id: str


class _WanVideoDecoratedOperator(DecoratedOperator, CapabilityOperator):
    """Makes the video that a function describes: in words alone, or as a dict of the operators' arguments.

    The function is called once in each try, before anything is bought, and not again when the task resumes after its
    wait. What it returns is not rendered as a template: it may be the words of strangers, or of a language model, and a
    template could read Airflow's connections. The decorator's own arguments are templated, as are the operators'.

    What is given decides what is made: with ``video``, an edit of it; with ``reference_image`` or ``reference_video``,
    a video with what they show; with ``first_frame``, ``last_frame`` or ``driving_audio``, an image in motion; with
    none of them, a video from words.

    :param python_callable: the function.
    :param op_args: its arguments by position, templated.
    :param op_kwargs: its arguments by name, templated.
    :param model: (str, templated) model id; by default the wan2.7 model for what is given.
    :param first_frame: (str, templated) the image that the video starts from.
    :param last_frame: (str, templated) the image that the video ends with.
    :param driving_audio: (str, templated) a wav or mp3 of 2 to 30 s that lips and rhythm follow.
    :param reference_image: (str, dict, or a list of either, templated) images of what should be in the video.
    :param reference_video: (str, dict, or a list of either, templated) videos, likewise.
    :param video: (str, templated) the video to change.
    :param duration: (s, templated) length of the video, or ``audio``; 5 by default, and for an edit that of the source.
    :param ratio: (str, templated) ``16:9``, ``9:16``, ``1:1``, ``4:3`` or ``3:4``.
    :param audio_setting: (str, templated) of an edit: ``auto``, or ``origin`` to keep the source's sound.
    """

    template_fields: Sequence[str] = DecoratedOperator.template_fields
    template_fields_renderers: ClassVar[dict[str, str]] = DecoratedOperator.template_fields_renderers
    media_roles = ("video", "reference_image", "reference_video", "first_frame", "last_frame", "driving_audio")
    parameter_names = ("duration", "ratio", "audio_setting")
    unconverted_fields = ("op_args", "op_kwargs")

    custom_operator_name: str = "@task.wan_video"

    _returned_path: str | None = None
    """The ``output_path`` that the function returned: the task that resumes must not call it again."""

    def __init__(
        self,
        *,
        model: str | None = None,
        first_frame: str | None = None,
        last_frame: str | None = None,
        driving_audio: str | None = None,
        reference_image: Reference | Sequence[Reference] | None = None,
        reference_video: Reference | Sequence[Reference] | None = None,
        video: str | None = None,
        duration: int | str | None = None,
        ratio: str | None = None,
        audio_setting: str | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("multiple_outputs"):
            raise ValueError("@task.wan_video returns one path, so it has no multiple_outputs")
        super().__init__(model=cast("str", model), **kwargs)
        self.first_frame = first_frame
        self.last_frame = last_frame
        self.driving_audio = driving_audio
        self.reference_image = reference_image
        self.reference_video = reference_video
        self.video = video
        self.duration = duration
        self.ratio = ratio
        self.audio_setting = audio_setting

    def execute(self, context: Context) -> Any:
        """Call the function, and make the video that it describes."""
        with errors_for_airflow(context, ledger=open_ledger(context)):
            known = {**context, **self.op_kwargs}
            returned = self.python_callable(
                *self.op_args, **determine_kwargs(self.python_callable, self.op_args, known)
            )
            self.set_fields(read_returned(returned))
            defaults = inspect.signature(self.made_by().__init__).parameters
            for name in ("model", "duration"):
                if is_unset(getattr(self, name)):
                    setattr(self, name, defaults[name].default)
            if isinstance(returned, Mapping) and not is_unset(returned.get("output_path")):
                self._returned_path = str(self.output_path)
        # Not that of `DecoratedOperator`, which needs a method that Airflow 3.0 does not have.
        return CapabilityOperator.execute(self, context)

    def defer(self, *, trigger: BaseTrigger, **kwargs: Any) -> NoReturn:
        """Free the worker; the trigger keeps the path that the function returned."""
        cast("WanVideoTrigger", trigger).output_path = self._returned_path
        super().defer(trigger=trigger, **kwargs)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str:
        """Resume on a worker, with the path that the function returned before the wait."""
        self.output_path = (event or {}).get("output_path") or self.output_path
        return super().execute_complete(context, event)

    def made_by(self) -> type[CapabilityOperator]:
        """Return the operator that makes a video of what is given."""
        if self._is_given("video"):
            return WanEditVideoOperator
        if self._is_given("reference_image", "reference_video"):
            return WanReferenceToVideoOperator
        if self._is_given("first_frame", "last_frame", "driving_audio"):
            return WanImageToVideoOperator
        return WanTextToVideoOperator

    def _is_given(self, *roles: str) -> bool:
        return not all(is_unset(getattr(self, role)) for role in roles)


def read_returned(returned: object) -> dict[str, Any]:
    """Return the arguments that a function returned.

    :param returned: a prompt, or a dict like `WanVideoArguments`.
    :raises InvalidVideoRequest: when it is neither, or names an argument that there is not.
    """
    if isinstance(returned, str) and returned.strip():
        return {"prompt": returned}
    if not isinstance(returned, Mapping) or not returned:
        raise InvalidVideoRequest(
            [f"The function of @task.wan_video must return a prompt or a dict of arguments, got {show(returned)}."]
        )
    known = list(WanVideoArguments.__annotations__)
    if problems := [_unknown(name, known) for name in returned if name not in known]:
        raise InvalidVideoRequest(problems)
    return {name: value for name, value in returned.items() if value is not None}


def _unknown(name: object, known: list[str]) -> str:
    similar = difflib.get_close_matches(show_name(name), known, n=1)
    hint = f"did you mean {similar[0]}?" if similar else f"it may return {', '.join(known)}."
    return f"The function of @task.wan_video returned {show_name(name)}; {hint}"


@overload
def wan_video_task(python_callable: Callable[P, str | WanVideoArguments]) -> Task[P, str]: ...


@overload
def wan_video_task(
    python_callable: None = None, **kwargs: Any
) -> Callable[[Callable[P, str | WanVideoArguments]], Task[P, str]]: ...


def wan_video_task(python_callable: Callable[P, Any] | None = None, **kwargs: Any) -> Any:
    """Make a task of a function that returns what a video should be; ``@task.wan_video``.

    .. code-block:: python

        @task.wan_video(first_frame="https://your-cdn.com/mug.png", max_cost=0.5)
        def animate(words: str) -> str:
            return f"The mug turns slowly; {words}."

    :param python_callable: a function that returns a prompt, or a dict like `WanVideoArguments`.
    :param kwargs: arguments of the operators, and of each of Airflow's operators.
    :returns: the task, to be called, or mapped by ``expand``; what it returns is the path or URI of the video.
    """
    # Airflow would take a function that is annotated to return a dict for a task with several outputs.
    options: dict[str, Any] = {"multiple_outputs": False, **kwargs}
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_WanVideoDecoratedOperator, **options
    )
