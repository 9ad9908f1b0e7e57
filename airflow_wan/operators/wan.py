"""The operators: submit a video, or submit it, wait for it and bring it home."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, mask_secret

from airflow_wan import settings
from airflow_wan.api.errors import VideoTaskFailed, WanError
from airflow_wan.api.polling import DEFAULT_TIMEOUT, VideoWatch
from airflow_wan.api.requests import DEFAULT_RESOLUTION, VideoRequest, build_video_request, is_unset
from airflow_wan.hooks.wan import WanHook
from airflow_wan.ledger import Purchase, forget_purchase, open_ledger
from airflow_wan.purchase import Buyer, OnAmbiguousSubmit, OnChangedRequest
from airflow_wan.signed_urls import signed_queries
from airflow_wan.triggers.wan import WanVideoTrigger
from airflow_wan.waiting import OwnsWanTask, WaitsForVideo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

WAN_TASK_ID_KEY = "wan_task_id"
"""XCom key under which an operator that waits pushes the task's id as soon as it has it."""


class WanSubmitVideoOperator(OwnsWanTask, BaseOperator):
    """Submits a video and returns at once with the gateway's id of the task. Every submit costs money.

    :param model: model id, such as ``wan2.7-i2v``. An id the catalogue does not know passes with a warning. (templated)
    :param prompt: what should happen in the video. (templated)
    :param media: ``input.media`` as the API has it: dicts with ``type`` (``first_frame``, ``last_frame``,
        ``driving_audio``, ``first_clip``) and ``url``, a public https URL. (templated)
    :param parameters: the API's ``parameters``: ``resolution`` (``720P``, ``1080P``), ``duration`` (s, 2 to 15),
        ``prompt_extend``, ``watermark``, ``seed``. ``resolution`` is always sent, 720P unless given. (templated)
    :param negative_prompt: what should not be seen. (templated)
    :param extra_body: merged into the request's JSON unchecked, for fields this package does not know. (templated)
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
        "extra_body",
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
        extra_body: Mapping[str, Any] | None = None,
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
        self.extra_body = extra_body
        self.wan_conn_id = wan_conn_id
        self.on_ambiguous_submit = OnAmbiguousSubmit(on_ambiguous_submit).value
        self.on_changed_request = OnChangedRequest(on_changed_request).value
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> Any:
        """Submit, and return the wan task id."""
        purchase = self.submit(context)
        self.forget_when_successful()
        return purchase.wan_task_id

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Hide what signs the media's URLs before Airflow stores and shows the rendered fields.

        Airflow calls this for plain and for mapped tasks; of `render_template_fields`, a mapped task uses its own.
        """
        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is self:
            for query in signed_queries([getattr(self, name) for name in self.template_fields]):
                mask_secret(query)

    def build_request(self, hook: WanHook) -> VideoRequest:
        """The request, checked for the connection's gateway.

        :raises InvalidVideoRequest: with every problem at once.
        """
        account = hook.account
        return build_video_request(
            gateway=account.gateway,
            base_url=account.base_url,
            model=self.model,
            prompt=self.prompt,
            media=self.request_media(),
            parameters=self.request_parameters(),
            negative_prompt=self.negative_prompt,
            extra_body=self.extra_body,
        )

    def request_media(self) -> Sequence[Mapping[str, Any]] | None:
        """``input.media`` of the request."""
        return self.media

    def request_parameters(self) -> Mapping[str, Any]:
        """``parameters`` of the request."""
        return self.parameters or {}

    def submit(self, context: Context) -> Purchase:
        """Check the request and buy the video, unless an earlier try of this task instance has.

        :returns: the purchase, with its wan task id.
        """
        hook = WanHook(self.wan_conn_id)
        try:
            request = self.build_request(hook)
            for warning in request.warnings:
                self.log.warning(warning)
            buyer = Buyer(
                ledger=open_ledger(context),
                account=hook.account,
                wan_conn_id=self.wan_conn_id,
                connect=lambda conn_id, base_url: WanHook(conn_id, base_url=base_url).get_conn(),
                poll_interval=settings.poll_interval(),
                on_ambiguous_submit=OnAmbiguousSubmit(self.on_ambiguous_submit),
                on_changed_request=OnChangedRequest(self.on_changed_request),
            )
            purchase = buyer.obtain(request)
        except WanError as error:
            self.raise_for(error)
        self._running = str(purchase.wan_task_id), WanHook(purchase.wan_conn_id, base_url=purchase.base_url)
        context["ti"].xcom_push(key=WAN_TASK_ID_KEY, value=purchase.wan_task_id)
        return purchase

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.deferrable = deferrable
        self.poll_interval = _seconds(settings.poll_interval() if poll_interval is None else poll_interval)
        self.timeout = _seconds(timeout)

    def execute(self, context: Context) -> Any:
        """Submit, wait, and bring the video home."""
        self.prepare_destination(context)
        purchase = self.submit(context)
        started, deadline = self.wait_from(purchase)
        watch = VideoWatch(str(purchase.wan_task_id), started, deadline, self.poll_interval)
        hook = WanHook(purchase.wan_conn_id, base_url=purchase.base_url)
        if not self.deferrable:
            self.wait_here(context, hook, watch)
            return self.deliver(context, watch.wan_task_id, hook)
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

    def deliver(self, context: Context, wan_task_id: str, hook: WanHook) -> str:
        """Bring the video home, and have the purchase forgotten once Airflow knows of it."""
        path = super().deliver(context, wan_task_id, hook)
        self.forget_when_successful()
        return path

    def end_wait(self, context: Context, error: WanError) -> NoReturn:
        """A failed or canceled task is not billed, so the next try may buy; any other is remembered."""
        if isinstance(error, VideoTaskFailed):
            forget_purchase(context)
        super().end_wait(context, error)

    def request_facts(self) -> dict[str, Any]:
        """Model and seed, for the metadata."""
        seed = str(self.request_parameters().get("seed"))
        return {"model": self.model, "seed": int(seed) if seed.isdecimal() else None}


class WanImageToVideoOperator(WanGenerateVideoOperator):
    """Sets an image in motion, driven by a voice or music track if there is one, and hands on the video's path.

    Takes everything `WanGenerateVideoOperator` takes, and:

    :param prompt: what should happen in the video. (templated)
    :param first_frame: public https URL of the image the video starts from. (templated)
    :param driving_audio: public https URL of a wav or mp3, 2 to 30 s, that lips and rhythm follow; wan2.7-i2v and
        wan2.6-i2v only. (templated)
    :param last_frame: public https URL of the image the video ends on. (templated)
    :param resolution: ``720P`` or ``1080P``; 1080P costs more. (templated)
    :param duration: s, an integer from 2 to 15. (templated)
    :param prompt_extend: whether the gateway may rewrite the prompt; its own default is true. (templated)
    :param watermark: whether the video carries an "AI generated" mark; the gateway's own default is false. (templated)
    :param seed: 0 to 2147483647, for repeatable takes. (templated)
    :param model: model id. (templated)
    :returns: the path or URI of the video; its metadata is under the XCom key ``wan_video``.
    """

    template_fields: Sequence[str] = (
        *WanGenerateVideoOperator.template_fields,
        "first_frame",
        "driving_audio",
        "last_frame",
        "resolution",
        "duration",
        "prompt_extend",
        "watermark",
        "seed",
    )

    def __init__(
        self,
        *,
        prompt: str | None = None,
        first_frame: str,
        driving_audio: str | None = None,
        last_frame: str | None = None,
        resolution: str = DEFAULT_RESOLUTION,
        duration: int | str = 5,
        prompt_extend: bool | str | None = None,
        watermark: bool | str | None = None,
        seed: int | str | None = None,
        model: str = "wan2.7-i2v",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, prompt=prompt, **kwargs)
        self.first_frame = first_frame
        self.driving_audio = driving_audio
        self.last_frame = last_frame
        self.resolution = resolution
        self.duration = duration
        self.prompt_extend = prompt_extend
        self.watermark = watermark
        self.seed = seed

    def request_media(self) -> Sequence[Mapping[str, Any]]:
        """The media named by argument, then any given as ``media``."""
        named = {
            "first_frame": self.first_frame,
            "last_frame": self.last_frame,
            "driving_audio": self.driving_audio,
        }
        return [
            *({"type": media_type, "url": url} for media_type, url in named.items() if not is_unset(url)),
            *(self.media or ()),
        ]

    def request_parameters(self) -> Mapping[str, Any]:
        """The parameters named by argument, over any given as ``parameters``."""
        named = {
            "resolution": self.resolution,
            "duration": self.duration,
            "prompt_extend": self.prompt_extend,
            "watermark": self.watermark,
            "seed": self.seed,
        }
        return {**(self.parameters or {}), **{name: value for name, value in named.items() if not is_unset(value)}}


def _seconds(value: timedelta | float) -> float:
    """A length of time in s, made sure of before anything is bought: it ends in the trigger's arguments."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not seconds > 0:
        raise ValueError(f"{value!r} is no length of time: it must be seconds over 0")
    return seconds
