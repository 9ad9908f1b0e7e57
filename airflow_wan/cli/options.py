"""The options that several commands share, in groups."""

from __future__ import annotations

import functools
import inspect
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

_MEDIA_HELP = "a URL, an object store URI, or a file"


def _media(what: str) -> Any:
    return typer.Option(help=f"{what}: {_MEDIA_HELP}.", rich_help_panel="Media")


def _parameter(what: str) -> Any:
    return typer.Option(help=what, rich_help_panel="Parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The video that is wanted, in the API's own words."""

    model: Annotated[
        str, typer.Option("--model", "-m", help="Model id, such as wan2.7-i2v; `airflow-wan models` lists them.")
    ]
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="What should happen in the video.")] = None
    negative_prompt: Annotated[str | None, typer.Option(help="What should not be seen.")] = None
    first_frame: Annotated[str | None, _media("The image that the video starts from")] = None
    last_frame: Annotated[str | None, _media("The image that the video ends with")] = None
    driving_audio: Annotated[str | None, _media("The voice or music that the video follows")] = None
    first_clip: Annotated[str | None, _media("The video that is continued")] = None
    reference_image: Annotated[list[str] | None, _media("A person or thing; may be repeated")] = None
    reference_video: Annotated[list[str] | None, _media("A person or thing; may be repeated")] = None
    video: Annotated[str | None, _media("The video that is changed")] = None
    audio_url: Annotated[str | None, _media("The sound track of a text-to-video request")] = None
    media: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE=FILE", help="Any other item of input.media; may be repeated.", rich_help_panel="Media"
        ),
    ] = None
    adapt_media: Annotated[
        bool,
        typer.Option(
            "--adapt-media",
            help="Replace an image or sound that breaks a limit by a copy that fits.",
            rich_help_panel="Media",
        ),
    ] = False
    cut_audio: Annotated[
        bool,
        typer.Option(
            "--cut-audio",
            help="Let --adapt-media cut off the end of a sound that is too long.",
            rich_help_panel="Media",
        ),
    ] = False
    resolution: Annotated[str | None, _parameter("480P, 720P or 1080P; by default 720P if the model has it.")] = None
    duration: Annotated[str | None, _parameter("Seconds, or 'audio': as long as the sound track.")] = None
    ratio: Annotated[str | None, _parameter("16:9, 9:16, 1:1, 4:3 or 3:4.")] = None
    seed: Annotated[int | None, _parameter("0 to 2147483647, for repeatable videos.")] = None
    prompt_extend: Annotated[bool | None, _parameter("Whether the gateway may rewrite the prompt.")] = None
    watermark: Annotated[bool | None, _parameter("Whether the video carries an 'AI generated' mark.")] = None
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Any other parameter of the API; may be repeated.", rich_help_panel="Parameters"
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The account that is used. There is no option for the key: other users of the machine could see it."""

    conn_id: Annotated[
        str | None,
        typer.Option(
            help="Airflow connection with the key, from AIRFLOW_CONN_…, a secrets backend or Airflow's database.",
            rich_help_panel="Account",
        ),
    ] = None
    gateway: Annotated[
        str | None, typer.Option(help="apiyi or dashscope; by default the one of the key.", rich_help_panel="Account")
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Address of the gateway, such as https://dashscope-intl.aliyuncs.com.", rich_help_panel="Account"
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """How results and progress are told."""

    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step on stderr.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the video goes, and how it is bought and accepted."""

    output: Annotated[str, typer.Option("--output", "-o", help="Local path of the video.")]
    new: Annotated[
        bool,
        typer.Option(
            "--new",
            help="Buy another video, even if the one at the output was made, or is being made, by another request or "
            "by this very one. A video that this request is being made by is not bought again.",
        ),
    ] = False
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", help="Send nothing that would cost more, or whose cost is not known.")
    ] = None
    preflight: Annotated[bool, typer.Option(help="Hold the media to the gateway's limits before sending.")] = True
    on_ambiguous_submit: Annotated[
        str,
        typer.Option(
            metavar="fail|resubmit",
            help="What to do if an earlier create request may have been accepted and its answer never arrived; "
            "resubmit may pay twice.",
        ),
    ] = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a video is waited for, and what is left beside it."""

    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Longest time out of the gateway's queue; default 3 h 15 min."),
    ] = None
    acceptance: Annotated[
        str,
        typer.Option(metavar="strict|warn|off", help="What becomes of a video that differs from the request."),
    ] = "strict"
    poster: Annotated[bool, typer.Option("--poster", help="Leave the first frame beside the video, as JPEG.")] = False


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameters that are groups are given as the options of the group.

    :param function: the command, with groups among its parameters.
    """
    groups: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if not is_dataclass(parameter.annotation):
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = parameter.annotation
        hints = get_type_hints(parameter.annotation, include_extras=True)
        options += [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if option.default is MISSING else option.default,
                annotation=hints[option.name],
            )
            for option in fields(parameter.annotation)
        ]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        made = {
            name: group(**{option.name: given.pop(option.name) for option in fields(group)})
            for name, group in groups.items()
        }
        function(**given, **made)

    vars(command)["__signature__"] = inspect.Signature(options)
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command
