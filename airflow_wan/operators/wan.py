"""The operators: submit a video, or submit it, wait for it and bring it home."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, mask_secret

from airflow_wan import config as settings
from airflow_wan.api.polling import DEFAULT_TIMEOUT, VideoWatch
from airflow_wan.api.requests import DEFAULT_RESOLUTION, VideoRequest, build_video_request, is_unset
from airflow_wan.exceptions import InvalidVideoRequest, LedgerUnreadable, VideoTaskFailed, WanError
from airflow_wan.hooks.wan import WanHook
from airflow_wan.purchases.buyer import Buyer, Offer, OnAmbiguousSubmit, OnChangedRequest
from airflow_wan.purchases.ledger import Order, Purchase, fingerprint_of, forget_purchase, open_ledger
from airflow_wan.purchases.prices import check_cost, estimate_request
from airflow_wan.redaction import secrets_in, shareable
from airflow_wan.triggers.wan import WanVideoTrigger
from airflow_wan.videos.reuse import FinishedVideo, find_finished
from airflow_wan.videos.waiting import OwnsWanTask, WaitsForVideo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.api.client import WanClient
    from airflow_wan.videos.destination import Destination

Reference = str | Mapping[str, Any]
"""A media item: its URL, or a dict with ``url`` and what else the API takes for it."""

WAN_TASK_ID_KEY = "wan_task_id"
"""XCom key under which an operator that waits pushes the task's id as soon as it has it."""


class WanSubmitVideoOperator(OwnsWanTask, BaseOperator):
    """Submits a video and returns at once with the gateway's id of the task. Every submit costs money.

    :param model: model id, such as ``wan2.7-i2v``. An id the catalogue does not know passes with a warning. (templated)
    :param prompt: what should happen in the video. (templated)
    :param media: ``input.media`` as the API has it: dicts with ``type`` (``first_frame``, ``driving_audio``,
        ``reference_image``, ``video`` …) and ``url``: a public https URL, an object store URI such as
        ``s3://conn_id@bucket/key.png``, a local path or, for images, a data URI. (templated)
    :param parameters: the API's ``parameters``: ``resolution`` (``720P``, ``1080P``), ``duration`` (s),
        ``prompt_extend``, ``watermark``, ``seed`` and so on. ``resolution`` is always sent, 720P unless given.
        (templated)
    :param negative_prompt: what should not be seen. (templated)
    :param audio_url: the sound track of a text-to-video task, given as media are. (templated)
    :param extra_body: merged into the request's JSON unchecked, for fields this package does not know. (templated)
    :param max_cost: what this task may spend on a video, USD: one that would cost more by the estimate, or whose cost
        nobody knows, is not sent. (templated)
    :param preflight: whether to measure the media before sending, by their headers alone.
    :param wan_conn_id: the Airflow connection to submit with. (templated)
    :param on_ambiguous_submit: what a retry does when the create request of an earlier try may have been accepted and
        its answer never arrived: ``fail`` (after a search in the gateway's list, on DashScope), or ``resubmit``, which
        may pay twice.
    :param on_changed_request: what a retry does when the request differs from the one an earlier try bought: ``fail``,
        or ``resubmit``, which cancels the old task where it can and pays for a new one.
    :param cancel_on_kill: whether killing this task cancels the Wan task, where the gateway can (DashScope, while it
        is queued).
    :returns: the wan task id.
    """

    template_fields: Sequence[str] = (
        "model",
        "prompt",
        "media",
        "parameters",
        "negative_prompt",
        "audio_url",
        "extra_body",
        "max_cost",
        "wan_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "media": "json",
        "parameters": "json",
        "extra_body": "json",
    }
    ui_color = "#e3e7fb"

    def __init__(
        self,
        *,
        model: str,
        prompt: str | None = None,
        media: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
        negative_prompt: str | None = None,
        audio_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost: float | str | None = None,
        preflight: bool = True,
        wan_conn_id: str = WanHook.default_conn_name,
        on_ambiguous_submit: str = OnAmbiguousSubmit.FAIL.value,
        on_changed_request: str = OnChangedRequest.FAIL.value,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.prompt = prompt
        self.media = media
        self.parameters = parameters
        self.negative_prompt = negative_prompt
        self.audio_url = audio_url
        self.extra_body = extra_body
        self.max_cost = max_cost
        self.preflight = preflight
        self.wan_conn_id = wan_conn_id
        self.on_ambiguous_submit = OnAmbiguousSubmit(on_ambiguous_submit).value
        self.on_changed_request = OnChangedRequest(on_changed_request).value
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> Any:
        """Submit, and return the wan task id."""
        hook = WanHook(self.wan_conn_id)
        purchase = self.submit(context, hook, self.checked_request(hook))
        self.forget_when_successful()
        return purchase.wan_task_id

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Hide what signs the media's URLs before Airflow stores and shows the rendered fields.

        Airflow calls this for plain and for mapped tasks; of `render_template_fields`, a mapped task uses its own.
        """
        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is self:
            for secret in secrets_in([getattr(self, name) for name in self.template_fields]):
                mask_secret(secret)

    def checked_request(self, hook: WanHook) -> VideoRequest:
        """The request, checked for the connection's gateway."""
        account = hook.account
        try:
            request = build_video_request(
                gateway=account.gateway,
                base_url=account.base_url,
                model=self.model,
                prompt=self.prompt,
                media=self.request_media(),
                parameters=self.request_parameters(),
                negative_prompt=self.negative_prompt,
                audio_url=self.audio_url,
                extra_body=self.extra_body,
            )
        except WanError as error:
            self.raise_for(error)
        for warning in request.warnings:
            self.log.warning(warning)
        return request

    def request_media(self) -> Sequence[Mapping[str, Any]] | None:
        """``input.media`` of the request."""
        return self.media

    def request_parameters(self) -> Mapping[str, Any]:
        """``parameters`` of the request."""
        return self.parameters or {}

    def submit(self, context: Context, hook: WanHook, request: VideoRequest) -> Purchase:
        """Buy the video, unless an earlier try of this task instance has.

        :returns: the purchase, with its wan task id.
        """
        buyer = Buyer(
            ledger=open_ledger(context),
            account=hook.account,
            wan_conn_id=self.wan_conn_id,
            connect=lambda conn_id, base_url: WanHook(conn_id, base_url=base_url).get_conn(),
            prepare=partial(self.make_ready, hook),
            poll_interval=settings.poll_interval(),
            on_ambiguous_submit=OnAmbiguousSubmit(self.on_ambiguous_submit),
            on_changed_request=OnChangedRequest(self.on_changed_request),
        )
        try:
            purchase = buyer.obtain(request)
        except WanError as error:
            self.raise_for(error)
        self._running = str(purchase.wan_task_id), WanHook(purchase.wan_conn_id, base_url=purchase.base_url)
        context["ti"].xcom_push(key=WAN_TASK_ID_KEY, value=purchase.wan_task_id)
        return purchase

    def make_ready(self, hook: WanHook, request: VideoRequest, client: WanClient) -> Offer:
        """What a request needs before it may be sent: its media measured and reachable, its cost within bounds."""
        from airflow_wan.media.sources import prepare_media  # noqa: PLC0415 - heavy, and only where something is bought

        gateway = hook.account.gateway.name
        prepared = prepare_media(
            request, account=hook.account, client=client, valid_for_s=self.media_needed_for(), preflight=self.preflight
        )
        estimate = estimate_request(gateway, request, prepared.clip_seconds)
        if estimate is None:
            self.log.info("What it would cost is not known: no rate for %s at %s", request.model, gateway)
        else:
            self.log.info("It would cost %s", estimate)
        check_cost(estimate, self.spending_limit())
        order = Order(
            request=shareable(request.body),
            sources=[asdict(source) for source in prepared.sources],
            seconds=request.seconds,
            resolution=request.resolution,
            driven_by_audio=request.is_driven_by_audio,
            estimated_usd=estimate.usd if estimate else None,
        )
        return Offer(prepared.request, order)

    def media_needed_for(self) -> float:
        """S from now in which the gateway may want to fetch the media."""
        return DEFAULT_TIMEOUT

    def spending_limit(self) -> float | None:
        """``max_cost`` as a number; a template may have made text of it.

        :raises InvalidVideoRequest: when it is none.
        """
        if is_unset(self.max_cost):
            return None
        try:
            limit = float(self.max_cost or 0)
        except (TypeError, ValueError):
            limit = -1.0
        if not limit >= 0:
            raise InvalidVideoRequest([f"max_cost: {self.max_cost!r} is no amount of USD."])
        return limit

    def forget_when_successful(self) -> None:
        """Have the ledger's record removed as soon as Airflow has recorded this task's success."""
        self.on_success_callback = [*(self.on_success_callback or ()), forget_purchase]


class WanGenerateVideoOperator(WaitsForVideo, WanSubmitVideoOperator):
    """Submits a video, waits for it without holding a worker, downloads it and hands on its path.

    Takes everything `WanSubmitVideoOperator` takes, and:

    :param output_path: where the video goes: a local path or a URI such as ``s3://conn_id@bucket/key.mp4``; by default
        a path of this task instance's own under ``[wan] output_base``. (templated)
    :param deferrable: whether to wait in the triggerer. False: on a worker.
    :param poll_interval: shortest time between two asks, s or timedelta; by default ``[wan] poll_interval``, 15 s.
    :param timeout: how long to wait from the submit on, s or timedelta; the gateways themselves give up after 3 h.
        A shorter ``execution_timeout`` counts too, since Airflow does not apply it to a deferred task.
    :param reuse: whether a video that is at ``output_path`` already, and was made by this very request, is handed on
        as it is, and nothing is submitted. False: a new take. It needs the record beside the video (``sidecar``).
    :param sidecar: whether to leave a record beside the video, ``<video>.json``: request, ids, times, cost, digest.
    :param poster: whether to leave the video's first frame beside it, as JPEG. It needs the extra ``inspection``.
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    template_fields: Sequence[str] = (*WanSubmitVideoOperator.template_fields, "output_path")
    ui_color = "#d9e6ff"

    def __init__(
        self,
        *,
        output_path: str | None = None,
        deferrable: bool = True,
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT,
        reuse: bool = True,
        sidecar: bool = True,
        poster: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.deferrable = deferrable
        self.reuse = reuse
        self.sidecar = sidecar
        self.poster = poster
        self.poll_interval = _seconds(settings.poll_interval() if poll_interval is None else poll_interval)
        self.timeout = _seconds(timeout)

    def execute(self, context: Context) -> Any:
        """Submit, wait, and bring the video home; or hand on the one that is there already."""
        self.check_extras()
        destination = self.prepare_destination(context)
        hook = WanHook(self.wan_conn_id)
        request = self.checked_request(hook)
        if there := self.find_there(context, destination, request):
            return self.hand_on(context, hook, there)
        purchase = self.submit(context, hook, request)
        started, deadline = self.wait_from(purchase)
        watch = VideoWatch(str(purchase.wan_task_id), started, deadline, self.poll_interval)
        hook = WanHook(purchase.wan_conn_id, base_url=purchase.base_url)
        if not self.deferrable:
            self.wait_here(context, hook, watch)
            return self.deliver(context, watch.wan_task_id, hook, watch.seen)
        trigger = WanVideoTrigger(
            wan_task_id=watch.wan_task_id,
            wan_conn_id=purchase.wan_conn_id,
            started=started,
            deadline=deadline,
            poll_interval=self.poll_interval,
            base_url=purchase.base_url,
            cancel_on_kill=self.cancel_on_kill,
        )
        return self.wait_without_worker(context, hook, watch, trigger)

    def wait_from(self, purchase: Purchase) -> tuple[float, float]:
        """When the wait began and when it is given up, unix times in s: counted from the submit, over all tries."""
        now = time.time()
        started = purchase.submitted_at or now
        if started + self.longest_wait() <= now:
            # An earlier try has used the time up, and the author wants another: a fresh budget.
            started = now
        return started, started + self.longest_wait()

    def find_there(self, context: Context, destination: Destination, request: VideoRequest) -> FinishedVideo | None:
        """The video at the destination, if it is this very request's."""
        from airflow_wan.media.sources import identify  # noqa: PLC0415 - heavy, and only on a worker

        purchase = open_ledger(context).read()
        if purchase is None and not (self.reuse and self.sidecar):
            return None
        try:
            there = find_finished(
                destination, fingerprint_of(request.body), lambda: identify(request), purchase, poster=self.poster
            )
        except WanError as error:
            self.raise_for(error)
        if there is not None:
            self.log.info(
                "This very video is at %s already (wan task %s, sha256 %s); nothing is submitted. %s",
                destination,
                there.facts["wan_task_id"],
                there.facts["sha256"],
                "An earlier try has bought it." if purchase else "reuse=False makes a new take.",
            )
        return there

    def known_purchase(self, context: Context, wan_task_id: str) -> Purchase | None:
        """What the ledger says of the task; a video is brought home even while it cannot be read."""
        try:
            purchase = open_ledger(context).read()
        except LedgerUnreadable as error:
            self.log.warning("What was ordered cannot be looked up, so the video is compared with nothing: %s", error)
            return None
        return purchase if purchase and purchase.wan_task_id == wan_task_id else None

    def media_needed_for(self) -> float:
        """S from now in which the gateway may want to fetch the media: as long as the video is waited for."""
        return self.longest_wait()

    def hand_on(self, context: Context, hook: WanHook, video: FinishedVideo) -> str:
        """Hand on the path, and have the purchase forgotten once Airflow knows of it."""
        path = super().hand_on(context, hook, video)
        context["ti"].xcom_push(key=WAN_TASK_ID_KEY, value=video.facts["wan_task_id"])
        self.forget_when_successful()
        return path

    def end_wait(self, context: Context, error: WanError) -> NoReturn:
        """A failed or canceled task is not billed, so the next try may buy; any other is remembered."""
        if isinstance(error, VideoTaskFailed):
            forget_purchase(context)
        super().end_wait(context, error)


class _ByCapability(WanGenerateVideoOperator):
    """What the operators of one capability each share: arguments in the API's own words, made into a request.

    :param resolution: ``720P`` or ``1080P``; 1080P costs more. (templated)
    :param prompt_extend: whether the gateway may rewrite the prompt; its own default is true. (templated)
    :param watermark: whether the video carries an "AI generated" mark; the gateway's own default is false. (templated)
    :param seed: 0 to 2147483647, for repeatable takes. (templated)
    """

    named_parameters: ClassVar[tuple[str, ...]] = ("resolution", "prompt_extend", "watermark", "seed")
    """The arguments that are ``parameters`` of the request."""

    template_fields: Sequence[str] = (*WanGenerateVideoOperator.template_fields, *named_parameters)

    def __init__(
        self,
        *,
        resolution: str = DEFAULT_RESOLUTION,
        prompt_extend: bool | str | None = None,
        watermark: bool | str | None = None,
        seed: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.resolution = resolution
        self.prompt_extend = prompt_extend
        self.watermark = watermark
        self.seed = seed

    def request_parameters(self) -> Mapping[str, Any]:
        """The parameters named by argument, over any given as ``parameters``."""
        named = {name: getattr(self, name) for name in self.named_parameters}
        return {**(self.parameters or {}), **{name: value for name, value in named.items() if not is_unset(value)}}

    def request_media(self) -> Sequence[Mapping[str, Any]]:
        """The media named by argument, then any given as ``media``."""
        return [*self.named_media(), *(self.media or ())]

    def named_media(self) -> Iterator[Mapping[str, Any]]:
        """The media named by argument."""
        yield from ()


def _items(media_type: str, given: object) -> Iterator[Mapping[str, Any]]:
    """Media items of one type, from a URL, from a dict with more than a URL, or from a list of either."""
    if isinstance(given, (list, tuple)):
        for one in given:
            yield from _items(media_type, one)
    elif isinstance(given, Mapping):
        yield {"type": media_type, **given}
    elif not is_unset(given):
        yield {"type": media_type, "url": given}


class WanTextToVideoOperator(_ByCapability):
    """Makes a video from words alone, with a sound track if one is given, and hands on the video's path.

    Takes everything `WanGenerateVideoOperator` takes (``audio_url`` among it), the arguments that all capabilities
    share (``resolution``, ``prompt_extend``, ``watermark``, ``seed``), and:

    :param prompt: what should happen in the video. (templated)
    :param ratio: ``16:9``, ``9:16``, ``1:1``, ``4:3`` or ``3:4``; the gateway's own default is 16:9. (templated)
    :param duration: s, an integer from 2 to 15. (templated)
    :param model: model id. (templated)
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    named_parameters = (*_ByCapability.named_parameters, "duration", "ratio")
    template_fields: Sequence[str] = (*_ByCapability.template_fields, "duration", "ratio")

    def __init__(
        self,
        *,
        prompt: str,
        ratio: str | None = None,
        duration: int | str = 5,
        model: str = "wan2.7-t2v",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, prompt=prompt, **kwargs)
        self.ratio = ratio
        self.duration = duration


class WanImageToVideoOperator(_ByCapability):
    """Sets an image in motion, driven by a voice or music track if there is one, and hands on the video's path.

    Takes everything `WanGenerateVideoOperator` takes, the arguments that all capabilities share (``resolution``,
    ``prompt_extend``, ``watermark``, ``seed``), and:

    :param prompt: what should happen in the video. (templated)
    :param first_frame: the image the video starts from: a public https URL, an object store URI, a local path or a data
        URI. (templated)
    :param driving_audio: a wav or mp3, 2 to 30 s, that lips and rhythm follow; wan2.7-i2v and wan2.6-i2v only.
        (templated)
    :param last_frame: the image the video ends on. (templated)
    :param duration: s, an integer from 2 to 15. (templated)
    :param model: model id. (templated)
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    named_parameters = (*_ByCapability.named_parameters, "duration")
    template_fields: Sequence[str] = (
        *_ByCapability.template_fields,
        "first_frame",
        "driving_audio",
        "last_frame",
        "duration",
    )

    def __init__(
        self,
        *,
        prompt: str | None = None,
        first_frame: str,
        driving_audio: str | None = None,
        last_frame: str | None = None,
        duration: int | str = 5,
        model: str = "wan2.7-i2v",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, prompt=prompt, **kwargs)
        self.first_frame = first_frame
        self.driving_audio = driving_audio
        self.last_frame = last_frame
        self.duration = duration

    def named_media(self) -> Iterator[Mapping[str, Any]]:
        """First frame, last frame, driving audio."""
        yield from _items("first_frame", self.first_frame)
        yield from _items("last_frame", self.last_frame)
        yield from _items("driving_audio", self.driving_audio)


class WanReferenceToVideoOperator(_ByCapability):
    """Makes a video with the persons, things or voices of references in it, and hands on the video's path.

    The prompt names references by their order: "image 1", "video 1" (Wan), "[Image 1]" (HappyHorse).

    Takes everything `WanGenerateVideoOperator` takes, the arguments that all capabilities share (``resolution``,
    ``prompt_extend``, ``watermark``, ``seed``), and:

    :param prompt: what should happen in the video. (templated)
    :param reference_image: an image or a list of images: URLs, or dicts with ``url`` and ``reference_voice``, a wav or
        mp3 of 1 to 10 s. (templated)
    :param reference_video: likewise, videos. Images and videos are at most 5 together (HappyHorse: 9 images).
        (templated)
    :param first_frame: the image the video starts from; ``ratio`` is then ignored. (templated)
    :param ratio: ``16:9``, ``9:16``, ``1:1``, ``4:3`` or ``3:4``; the gateway's own default is 16:9. (templated)
    :param duration: s, an integer from 2 to 15, with a reference video to 10. (templated)
    :param model: model id. (templated)
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    named_parameters = (*_ByCapability.named_parameters, "duration", "ratio")
    template_fields: Sequence[str] = (
        *_ByCapability.template_fields,
        "reference_image",
        "reference_video",
        "first_frame",
        "duration",
        "ratio",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **WanGenerateVideoOperator.template_fields_renderers,
        "reference_image": "json",
        "reference_video": "json",
    }

    def __init__(
        self,
        *,
        prompt: str,
        reference_image: Reference | Sequence[Reference] | None = None,
        reference_video: Reference | Sequence[Reference] | None = None,
        first_frame: str | None = None,
        ratio: str | None = None,
        duration: int | str = 5,
        model: str = "wan2.7-r2v",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, prompt=prompt, **kwargs)
        self.reference_image = reference_image
        self.reference_video = reference_video
        self.first_frame = first_frame
        self.ratio = ratio
        self.duration = duration

    def named_media(self) -> Iterator[Mapping[str, Any]]:
        """References, images first; then the first frame."""
        yield from _items("reference_image", self.reference_image)
        yield from _items("reference_video", self.reference_video)
        yield from _items("first_frame", self.first_frame)


class WanEditVideoOperator(_ByCapability):
    """Changes a video by words and reference images, and hands on the new video's path.

    Takes everything `WanGenerateVideoOperator` takes, the arguments that all capabilities share (``resolution``,
    ``prompt_extend``, ``watermark``, ``seed``), and:

    :param prompt: what should change. (templated)
    :param video: the video to change, mp4 or mov, 2 to 10 s. (templated)
    :param reference_image: an image or a list of images of what should come into it; APIYI requires one. (templated)
    :param duration: s; by default that of the source (DashScope only). (templated)
    :param ratio: by default that of the source (DashScope only). (templated)
    :param audio_setting: ``auto`` or ``origin``, which keeps the source's sound (DashScope only). (templated)
    :param model: model id. (templated)
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    named_parameters = (*_ByCapability.named_parameters, "duration", "ratio", "audio_setting")
    template_fields: Sequence[str] = (
        *_ByCapability.template_fields,
        "video",
        "reference_image",
        "duration",
        "ratio",
        "audio_setting",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **WanGenerateVideoOperator.template_fields_renderers,
        "reference_image": "json",
    }

    def __init__(
        self,
        *,
        prompt: str | None = None,
        video: str,
        reference_image: Reference | Sequence[Reference] | None = None,
        duration: int | str | None = None,
        ratio: str | None = None,
        audio_setting: str | None = None,
        model: str = "wan2.7-videoedit",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, prompt=prompt, **kwargs)
        self.video = video
        self.reference_image = reference_image
        self.duration = duration
        self.ratio = ratio
        self.audio_setting = audio_setting

    def named_media(self) -> Iterator[Mapping[str, Any]]:
        """The video, then the reference images."""
        yield from _items("video", self.video)
        yield from _items("reference_image", self.reference_image)


def _seconds(value: timedelta | float) -> float:
    """A length of time in s, made sure of before anything is bought: it ends in the trigger's arguments."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not seconds > 0:
        raise ValueError(f"{value!r} is no length of time: it must be seconds over 0")
    return seconds
