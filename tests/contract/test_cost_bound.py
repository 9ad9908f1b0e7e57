"""The estimate against the emulator's bill: `max_cost` is never passed under, whatever is ordered.

The bill is the emulator's `usage`, which it makes from its own reading of the gateways' documents, at rates that are
set here for every model.
"""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, event, given, reject
from hypothesis import strategies as st

from airflow_wan.api.catalogue import known_model_ids
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway
from airflow_wan.api.requests import build_video_request
from airflow_wan.api.rules import MediaKind
from airflow_wan.emulator.dashscope import DashScope
from airflow_wan.emulator.gateway_names import GatewayName
from airflow_wan.emulator.media import MediaFailedError
from airflow_wan.emulator.rendering import RenderedVideo, seconds_of
from airflow_wan.emulator.tasks import Caller, Snapshot, State, Task
from airflow_wan.emulator.validation import VIDEO_ROLES, Order, validate_create
from airflow_wan.exceptions import CostLimitExceeded, InvalidVideoRequest
from airflow_wan.purchases.prices import check_cost, estimate_request, settle_cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_wan.api.requests import VideoRequest

RATES = {"480P": 1.0, "720P": 2.0, "1080P": 4.0}
UNKNOWN = "wan9-r2v"
CDN = "https://cdn.example.com"
MEASURING_ERROR_S = 0.1

RECIPES = (
    "",
    "first_frame",
    "first_frame last_frame",
    "first_frame driving_audio",
    "first_clip",
    "first_clip last_frame",
    "reference_image",
    "reference_video",
    "reference_image reference_video",
    *("reference_video " * count for count in (2, 3, 5)),
    "reference_video reference_audio",
    "video",
    "video reference_image",
)


@pytest.fixture(autouse=True, scope="module")
def rates() -> Any:
    """A rate for every model, the dearer the resolution."""
    table = {gateway.name: dict.fromkeys((*known_model_ids(), UNKNOWN), RATES) for gateway in (APIYI, DASHSCOPE)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__WAN__USD_PER_SECOND", json.dumps(table))
        yield


def items(recipe: str) -> list[dict[str, str]]:
    def url(media_type: str) -> str:
        suffix = {"clip": "mp4", "video": "mp4", "audio": "mp3"}.get(media_type.rpartition("_")[2], "png")
        return f"{CDN}/{media_type}.{suffix}"

    return [{"type": media_type, "url": url(media_type)} for media_type in recipe.split()]


def request_of(gateway: Gateway, model: str, recipe: str, **arguments: Any) -> VideoRequest:
    return build_video_request(
        gateway=gateway,
        base_url=gateway.default_base_url,
        model=model,
        prompt="a kite",
        media=items(recipe),
        **arguments,
    )


@cache
def fitting_recipes(gateway: Gateway, model: str) -> list[str]:
    """Return the media that a model takes."""
    fitting = []
    for recipe in RECIPES:
        with contextlib.suppress(InvalidVideoRequest):
            request_of(gateway, model, recipe)
            fitting.append(recipe)
    return fitting


def order_of(gateway: Gateway, request: VideoRequest) -> Order:
    """Return what the emulator understands of a request that it would carry out."""
    order = validate_create(json.dumps(request.body).encode(), GatewayName(gateway.name.value))
    if not isinstance(order, Order) or order.certain_failure is not None:
        reject()
    return order


def billed(order: Order, lengths: Sequence[float], chosen_s: int | None = None) -> dict[str, Any]:
    """Return the `usage` of a video that was made from clips of these lengths.

    :param chosen_s: the length that the model chose, where the request leaves it to the model.
    """
    clips = list(zip([item for item in order.media if item.role in VIDEO_ROLES], lengths, strict=True))
    for item, length in clips:
        assume(item.rule.shortest_s - 0.1 <= length <= item.rule.longest_s + 0.1)
    try:
        output_s, input_s = seconds_of(order, clips)
    except MediaFailedError:
        reject()
    if chosen_s is not None:
        output_s = chosen_s
        assume(not clips or output_s + input_s <= order.spec.in_all_s)
    task = Task(order, GatewayName.DASHSCOPE, Caller.of("sk-x"), 0.0, 0.0, 0.0, 1e9, Future())
    video = RenderedVideo(b"", 1280, 720, output_s, input_s)
    answer = DashScope().task(task, Snapshot(State.SUCCEEDED, 0.0, 0.0, video=video), CDN, "request", 0.0)
    assert isinstance(answer.body, dict)
    usage: dict[str, Any] = answer.body["usage"]
    return usage


def bill_usd(usage: dict[str, Any]) -> float:
    seconds = usage["input_video_duration"] + usage["output_video_duration"]
    assert usage["duration"] == pytest.approx(seconds)
    return float(RATES[f"{usage['SR']}P"] * seconds * usage["video_count"])


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "resolution": st.sampled_from(["480P", "720P", "1080P"]),
        "duration": st.one_of(st.sampled_from([-1, 0, 2, 3, 5, 10, 15]), st.integers(2, 30)),
        "ratio": st.sampled_from(["16:9", "4:3", "21:9", "adaptive"]),
        "size": st.sampled_from(["832*480", "1280*720", "1248*1632"]),
        "audio": st.booleans(),
        "prompt_extend": st.booleans(),
        "shot_type": st.just("multi"),
    },
)
EXTRA = st.one_of(
    st.none(),
    st.fixed_dictionaries({"parameters": PARAMETERS}),
    st.fixed_dictionaries({"model": st.sampled_from(known_model_ids())}),
    st.fixed_dictionaries({"input": st.fixed_dictionaries({"media": st.sampled_from(RECIPES).map(items)})}),
    st.just({"input": {"reference_video_urls": [f"{CDN}/more.mp4", f"{CDN}/most.mp4"]}}),
)


@given(data=st.data(), gateway=st.sampled_from([APIYI, DASHSCOPE]), model=st.sampled_from(known_model_ids()))
def test_a_request_that_max_cost_lets_pass_is_never_billed_higher(
    data: st.DataObject, gateway: Gateway, model: str
) -> None:
    recipe = data.draw(st.sampled_from(fitting_recipes(gateway, model)), "media")
    parameters, extra = data.draw(PARAMETERS, "parameters"), data.draw(EXTRA, "extra_body")
    try:
        request = request_of(gateway, model, recipe, parameters=parameters, extra_body=extra)
    except InvalidVideoRequest:
        reject()
    order = order_of(gateway, request)
    lengths = [
        data.draw(st.floats(max(0.5, item.rule.shortest_s), min(60.0, item.rule.longest_s)), "seconds of a clip")
        for item in order.media
        if item.role in VIDEO_ROLES
    ]
    chosen = data.draw(st.integers(2, 30)) if request.parameters.get("duration") == -1 else None
    usage = billed(order, lengths, chosen)

    known = [reference for reference in request.media if reference.kind is MediaKind.VIDEO]
    off = st.floats(-MEASURING_ERROR_S, MEASURING_ERROR_S)
    measured = [
        data.draw(st.one_of(st.none(), off.map(lambda error, length=length: max(0.0, length + error))), "measured")
        for _, length in zip(known, lengths, strict=False)
    ]
    measured += [None] * (len(known) - len(measured))
    estimate = estimate_request(gateway.name, request, measured)

    event("no estimate" if estimate is None else "an estimate")
    bill = bill_usd(usage)
    assert settle_cost(gateway.name, request.model, request.resolution, usage) == pytest.approx(bill, abs=1e-4)
    assert estimate is None or estimate.usd >= bill - 1e-4
    with pytest.raises(CostLimitExceeded):
        check_cost(estimate, bill - 0.01)


@pytest.mark.parametrize("gateway", [APIYI, DASHSCOPE], ids=lambda gateway: gateway.name)
@pytest.mark.parametrize("model", known_model_ids())
def test_every_model_has_an_estimate_of_every_kind_of_input(model: str, gateway: Gateway) -> None:
    recipes = fitting_recipes(gateway, model)

    assert recipes
    for recipe in recipes:
        request = request_of(gateway, model, recipe)
        videos = [reference for reference in request.media if reference.kind is MediaKind.VIDEO]
        for measured in ([None] * len(videos), [3.0] * len(videos)):
            assert estimate_request(gateway.name, request, measured) is not None


def test_the_input_of_several_clips_is_summed() -> None:
    one, three = (request_of(DASHSCOPE, "wan3.0-video", "reference_video " * count) for count in (1, 3))

    costs = [estimate_request("dashscope", one, [3.5]), estimate_request("dashscope", three, [3.5] * 3)]

    assert [cost.seconds for cost in costs if cost] == [9, 17]


@pytest.mark.parametrize(
    ("recipe", "arguments", "measured", "seconds"),
    [
        ("", {}, [], None),
        ("", {"resolution": "720P"}, [], None),
        ("", {"duration": 5}, [], None),
        ("", {"resolution": "720P", "duration": 5}, [], 5),
        ("", {"resolution": "4K", "duration": 5}, [], None),
        ("reference_video", {"resolution": "720P", "duration": 5}, [None], None),
        ("reference_video reference_video", {"resolution": "720P", "duration": 5}, [3.5, 3.5], 13),
    ],
)
def test_a_model_outside_the_catalogue_is_priced_by_what_is_sent_and_measured_alone(
    recipe: str, arguments: dict[str, Any], measured: list[float | None], seconds: float | None
) -> None:
    estimate = estimate_request("apiyi", request_of(APIYI, UNKNOWN, recipe, parameters=arguments), measured)

    assert (estimate.seconds if estimate else None) == seconds
    if estimate is None:
        with pytest.raises(CostLimitExceeded, match="not known"):
            check_cost(estimate, 1000.0)
