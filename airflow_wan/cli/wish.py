"""Makes a request of the options of a command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_wan.api.arguments import DEFAULT_RESOLUTION, show
from airflow_wan.api.requests import build_video_request
from airflow_wan.exceptions import InvalidVideoRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_wan.api.gateways import Gateway
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.cli.options import Wish
    from airflow_wan.cli.screen import Screen

_ROLES = (
    "first_frame",
    "last_frame",
    "driving_audio",
    "first_clip",
    "video",
    "reference_image",
    "reference_video",
)
"""The options that are items of ``input.media``, in the order of the request."""

_PARAMETERS = ("resolution", "duration", "ratio", "seed", "prompt_extend", "watermark")
"""The options that are ``parameters``."""

_URI = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)


def build_request(wish: Wish, gateway: Gateway, base_url: str, screen: Screen) -> VideoRequest:
    """Return the request for a video, checked for a gateway; its warnings are told.

    :param wish: the video that is wanted.
    :param gateway: the gateway.
    :param base_url: the address of the gateway.
    :param screen: where the warnings are told.
    :raises InvalidVideoRequest: when the request breaks a rule of the API.
    """
    if wish.cut_audio and not wish.adapt_media:
        raise InvalidVideoRequest(["--cut-audio needs --adapt-media."])
    request = build_video_request(
        gateway=gateway,
        base_url=base_url,
        model=wish.model,
        prompt=wish.prompt,
        media=list(_media(wish)),
        parameters=dict(_parameters(wish)),
        negative_prompt=wish.negative_prompt,
        audio_url=_located(wish.audio_url) if wish.audio_url else None,
        fallback_resolution=DEFAULT_RESOLUTION,
    )
    for warning in request.warnings:
        screen.say(f"Warning: {warning}")
    return request


def _media(wish: Wish) -> Iterator[dict[str, str]]:
    for role in _ROLES:
        given = getattr(wish, role) or ()
        for url in (given,) if isinstance(given, str) else given:
            yield {"type": role, "url": _located(url)}
    for role, url in _pairs("media", "TYPE=FILE", wish.media or ()):
        yield {"type": role, "url": _located(url)}


def _parameters(wish: Wish) -> Iterator[tuple[str, Any]]:
    for name in _PARAMETERS:
        if (value := getattr(wish, name)) is not None:
            yield name, value
    for name, text in _pairs("parameter", "NAME=VALUE", wish.parameter or ()):
        try:
            yield name, json.loads(text)  # a number, true or false
        except ValueError:
            yield name, text


def _pairs(option: str, form: str, given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InvalidVideoRequest([f"--{option} must be {form}, got {show(text)}."])
        yield name, value


def _located(url: str) -> str:
    """Return a path as an absolute one, for the request is the same wherever the command is run; a URI as it is."""
    return url if _URI.match(url) else str(current_folder() / Path(url).expanduser())


def current_folder() -> Path:
    """Return the folder from which relative paths count.

    :raises InvalidVideoRequest: when it was removed.
    """
    try:
        return Path.cwd()
    except OSError:
        raise InvalidVideoRequest(["the current folder was removed, so there are no relative paths."]) from None
