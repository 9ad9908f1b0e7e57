"""The operators: submit a video; or submit it, wait for it, and bring it home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, get_args

from airflow.providers.common.compat.sdk import BaseOperator, mask_secret

from airflow_wan import config
from airflow_wan.api.arguments import DEFAULT_RESOLUTION, is_sequence, is_unset, path_as_text, show
from airflow_wan.api.parameters import to_boolean
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.hooks.wan import WanHook
from airflow_wan.operators.argument_docs import list_inherited_arguments
from airflow_wan.purchases.budget import settle
from airflow_wan.purchases.buyer import buy
from airflow_wan.purchases.decision import Choice, Keep, OnChange, Policy, airflow_remedies, decide
from airflow_wan.purchases.earlier_try import what_became_of
from airflow_wan.purchases.ledger import forget_purchase, open_ledger
from airflow_wan.purchases.record import Intent, Purchase, fingerprint_of
from airflow_wan.purchases.siblings import WAN_TASK_ID_KEY, Siblings
from airflow_wan.purchases.submitted_order import leave_order
from airflow_wan.purchases.this_try import ThisTry
from airflow_wan.redaction import secrets_in
from airflow_wan.telemetry.lineage import openlineage_of
from airflow_wan.videos.acceptance import checked_strictness
from airflow_wan.videos.airflow_errors import errors_for_airflow
from airflow_wan.videos.dry_run import end_dry_run
from airflow_wan.videos.extra_link import VideoLink
from airflow_wan.videos.job import (
    VideoJob,
    longest_wait_in_all_s,
    longest_wait_s,
    prepare_job,
    resume,
    seconds_of,
    watch_for,
)
from airflow_wan.videos.output_path import path_text
from airflow_wan.videos.wan_status import tell_purchase
from airflow_wan.waiting.patience import DEFAULT_QUEUE_TIMEOUT_S
from airflow_wan.waiting.watch import DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from os import PathLike

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.purchases.buyer import Offer
    from airflow_wan.purchases.ledger import Ledger
    from airflow_wan.videos.acceptance import Strictness
    from airflow_wan.videos.wan_video import FinishedVideo

__all__ = [
    "WanEditVideoOperator",
    "WanGenerateVideoOperator",
    "WanImageToVideoOperator",
    "WanReferenceToVideoOperator",
    "WanSubmitVideoOperator",
    "WanTextToVideoOperator",
]

T = TypeVar("T")

Reference = str | Mapping[str, Any]
"""A media item: its URL, or a dict with ``url`` and the other fields that the API takes for it."""


class WanSubmitVideoOperator(BaseOperator):
    """Submits a video and returns at once with the gateway's id of the task. Every submit costs money.

    A retry does not submit again what an earlier try has submitted: the purchase is written down in the task
    instance's record, and a success callback removes it once Airflow has recorded the success. What was ordered is
    left in XCom under ``wan_order``, where `WanVideoSensor` finds it.

    :param model: (str, templated) model id, such as ``wan2.7-i2v``. An id that the catalogue does not know is sent,
        with a warning.
    :param prompt: (str, templated) what should happen in the video.
    :param media: (list of dicts, templated) ``input.media`` as the API has it: dicts with ``type`` (``first_frame``,
        ``driving_audio``, ``reference_image``, ``video`` …) and ``url``: a public https URL, an object store URI such
        as ``s3://conn_id@bucket/key.png``, an absolute local path or, for images, a data URI.
    :param parameters: (dict, templated) the API's ``parameters``: ``resolution`` (``720P``, ``1080P``), ``duration``
        (s), ``prompt_extend``, ``watermark``, ``seed`` and so on. ``resolution`` is always sent to a model of the
        catalogue: 720P unless given, or the lowest that the model offers.
    :param negative_prompt: (str, templated) what should not be seen.
    :param audio_url: (str, templated) the sound track of a text-to-video task; given as media are.
    :param extra_body: (dict, templated) merged into the request's JSON without a check, for fields that this package
        does not know.
    :param max_cost: (USD, templated) what this task may spend on a video. A video that would cost more by the
        estimate, or whose cost is not known, is not sent.
    :param dry_run: (bool, templated) whether to do everything but buy: the request, its media, its destination and its
        cost are checked and told in the log and in the XCom ``wan_status``, nothing is uploaded or sent, and the task
        is skipped. A video that is there already, or bought already, is handed on as ever. With ``[wan] dry_run``, each
        task is such a one, whatever it says itself.
    :param preflight: (bool) whether to hold the media to the gateway's limits before sending, by their headers.
    :param adapt_media: (bool) whether an image or sound that breaks a limit is replaced by a copy that fits, made by
        the worker; it needs ``preflight``. The file itself is never touched.
    :param cut_audio: (bool) whether ``adapt_media`` may cut off the end of a sound that is too long.
    :param wan_conn_id: (str, templated) the Airflow connection to submit with.
    :param on_ambiguous_submit: what a retry does when the create request of an earlier try may have been accepted and
        its answer never arrived: ``fail`` (after a search in the gateway's list, where it has one), or ``resubmit``,
        which may pay twice.
    :param on_changed_request: what a retry does when the request differs from the one that an earlier try bought:
        ``fail``; ``resubmit``, which cancels the old task where it can and pays for a new one; or ``keep``, which
        brings home what was bought then.
    :param cancel_on_kill: (bool) whether killing this task cancels the Wan task, where the gateway can (DashScope,
        while the Wan task is queued).
    :returns: the Wan task id.
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
        "is_dry_run",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "media": "json",
        "parameters": "json",
        "extra_body": "json",
    }
    ui_color = "#e3e7fb"
    operator_extra_links = (VideoLink(),)

    leaves_wan_order: ClassVar[bool] = True
    """Tells a sensor downstream that this task leaves what it ordered in XCom."""

    unconverted_fields: ClassVar[tuple[str, ...]] = ()
    """Templated fields that keep whatever objects they hold."""

    fallback_resolution: ClassVar[str | None] = None
    """Sent to a model that is not in the catalogue if the author gives no resolution."""

    running: tuple[str, WanHook] | None = None
    """The Wan task that a kill would leave behind, and the hook that reaches it."""

    is_killed: bool = False
    """Whether this task is being killed: Airflow lets it go on for some seconds after it has called `on_kill`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """List the arguments of the base classes in the docstring, too, so that ``help()`` shows all of them."""
        super().__init_subclass__(**kwargs)
        list_inherited_arguments(cls, WanSubmitVideoOperator)

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
        dry_run: bool | str = False,
        preflight: bool = True,
        adapt_media: bool = False,
        cut_audio: bool = False,
        wan_conn_id: str = WanHook.default_conn_name,
        on_ambiguous_submit: Choice = "fail",
        on_changed_request: OnChange = "fail",
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
        self.is_dry_run = dry_run  # each operator of Airflow has a method that is called dry_run
        if adapt_media and not preflight:
            raise ValueError("adapt_media=True needs preflight=True, which measures the media")
        if cut_audio and not adapt_media:
            raise ValueError("cut_audio=True needs adapt_media=True")
        self.preflight = preflight
        self.adapt_media, self.cut_audio = adapt_media, cut_audio
        self.wan_conn_id = wan_conn_id
        self.on_ambiguous_submit = _checked("on_ambiguous_submit", on_ambiguous_submit, Choice)
        self.on_changed_request = _checked("on_changed_request", on_changed_request, OnChange)
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> Any:
        """Submit, and return the Wan task id."""
        ledger = open_ledger(context)
        with errors_for_airflow(context, ledger=ledger):
            hook = WanHook(self.wan_conn_id)
            request = self.checked_request(hook)
            purchase = self.buy_once(context, request, hook, ledger, ledger.read())
            leave_order(context, purchase)
            tell_purchase(context, purchase, state="submitted")
        self.forget_when_successful()
        return purchase.wan_task_id

    def checked_request(self, hook: WanHook) -> VideoRequest:
        """Return the request, checked for the connection's gateway.

        :raises InvalidVideoRequest: when the request breaks a rule of the API.
        """
        from airflow_wan.api.requests import build_video_request  # noqa: PLC0415 - the catalogue; only on a worker

        account = hook.account
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
            fallback_resolution=self.fallback_resolution,
        )
        for warning in request.warnings:
            self.log.warning(warning)
        return request

    def request_media(self) -> Sequence[Mapping[str, Any]] | None:
        """Return ``input.media`` of the request."""
        return self.media

    def request_parameters(self) -> Mapping[str, Any]:
        """Return ``parameters`` of the request."""
        return self.parameters or {}

    def buy_once(
        self, context: Context, request: VideoRequest, hook: WanHook, ledger: Ledger, earlier: Intent | Purchase | None
    ) -> Purchase:
        """Return what an earlier try bought, or buy: decide → prepare → buy.

        :param context: the running task's context.
        :param request: the request.
        :param hook: the connection to buy with.
        :param ledger: the task instance's purchase record.
        :param earlier: what that record says.
        :raises AirflowSkipException: when it would be bought, and this is a dry run.
        :raises WanError: when the video could not be bought, or must not be.
        """
        found = what_became_of(
            earlier,
            request,
            hook=hook,
            ledger=ledger,
            siblings=Siblings(context),
            poll_interval_s=config.poll_interval(),
        )
        decision = decide(
            found.record,
            found.status,
            fingerprint=fingerprint_of(request.body),
            policy=Policy(self.on_ambiguous_submit, self.on_changed_request),
            remedies=airflow_remedies(ledger.where),
            search=found.search,
        )
        if isinstance(decision, Keep):
            purchase = decision.purchase
            settle(purchase.order, None)  # a try that was killed may not have come to it
        else:
            with hook.get_conn() as client:
                offer = self.make_offer(request, client, hook)
                if self.buys_nothing():
                    end_dry_run(context, offer, hook.account)
                purchase = buy(
                    offer,
                    client,
                    hook=hook,
                    ledger=ledger,
                    this_try=ThisTry.of(context),
                    seen=found.record,
                    instead_of=decision.instead_of,
                    longest_s=self.longest_submit_s(),
                )
        self.running = purchase.wan_task_id, hook.for_purchase(purchase.intent.wan_conn_id, purchase.intent.base_url)
        if self.is_killed:  # while the create request was under way
            self.on_kill()
        context["ti"].xcom_push(key=WAN_TASK_ID_KEY, value=purchase.wan_task_id)
        return purchase

    def make_offer(self, request: VideoRequest, client: WanClient, hook: WanHook) -> Offer:
        """Return the request made ready to be sent: its media measured and reachable, its cost within ``max_cost``."""
        from airflow_wan.purchases.offer import make_offer  # noqa: PLC0415 - Pillow, httpx; only to buy

        return make_offer(
            request,
            client,
            hook.account,
            media_valid_for_s=self.media_valid_for_s(),
            preflight=self.preflight,
            max_cost_usd=self.max_cost_usd(),
            send_media=not self.buys_nothing(),
            adapt_media=self.adapt_media,
            cut_audio=self.cut_audio,
        )

    def buys_nothing(self) -> bool:
        """Return whether this is a dry run; a template may have made text of the argument.

        :raises InvalidVideoRequest: when the argument is neither True nor False.
        """
        if config.dry_run() or is_unset(self.is_dry_run):
            return config.dry_run()
        is_dry_run = to_boolean(self.is_dry_run)
        if is_dry_run is None:
            raise InvalidVideoRequest([f"dry_run must be True or False, got {show(self.is_dry_run)}."])
        return is_dry_run

    def longest_submit_s(self) -> float:
        """Return the seconds for which a gateway that throttles create requests is outlasted."""
        execution_timeout = self.execution_timeout
        return min(DEFAULT_TIMEOUT_S, execution_timeout.total_seconds() if execution_timeout else DEFAULT_TIMEOUT_S)

    def media_valid_for_s(self) -> float:
        """Return the seconds from now during which the gateway may still fetch the media."""
        return self.longest_submit_s() + DEFAULT_QUEUE_TIMEOUT_S

    def max_cost_usd(self) -> float | None:
        """Return ``max_cost`` as a number; a template may have made text of it.

        :raises InvalidVideoRequest: when it is not a number.
        """
        if is_unset(self.max_cost):
            return None
        try:
            limit = float(self.max_cost or 0)
        except (TypeError, ValueError):
            limit = -1.0
        if not limit >= 0:
            raise InvalidVideoRequest([f"max_cost must be a non-negative number of USD, got {self.max_cost!r}."])
        return limit

    def forget_when_successful(self) -> None:
        """Have the purchase record removed as soon as Airflow has recorded this task's success."""
        self.on_success_callback = [*(self.on_success_callback or ()), forget_purchase]

    def on_kill(self) -> None:
        """Cancel the Wan task that the killed task would leave behind, if the gateway can."""
        self.is_killed = True
        if self.running is not None:
            wan_task_id, hook = self.running
            hook.cancel_task(wan_task_id, wanted=self.cancel_on_kill)

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Read lazy sequences, and hide what signs the media's URLs, before Airflow stores and shows the fields.

        Airflow calls this for plain and for mapped tasks; of `render_template_fields`, a mapped task uses its own.
        """
        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is self:
            self.set_fields({name: getattr(self, name) for name in self.template_fields})

    def set_fields(self, values: Mapping[str, Any]) -> None:
        """Set templated fields to plain values, and hide what signs a URL in them wherever Airflow shows them.

        :param values: the values by the names of the fields.
        """
        for name, value in values.items():
            setattr(self, name, value if name in self.unconverted_fields else _as_plain_values(value))
        for secret in secrets_in([getattr(self, name) for name in values]):
            mask_secret(secret)


class WanGenerateVideoOperator(WanSubmitVideoOperator):
    """Submits a video, waits for it without holding a worker, downloads it and hands on its path.

    A video that is at ``output_path`` already, and was made by this very request, is handed on as it is.

    :param output_path: (str or path object, templated) where the video goes: a local path or a URI such as
        ``s3://conn_id@bucket/key.mp4``; by default a path of this task instance's own under ``[wan] output_base``.
    :param deferrable: (bool) whether to wait in the triggerer. False: on a worker. By default
        ``[wan] deferrable``, which is True unless the installation says otherwise.
    :param poll_interval: (s, or timedelta) time between two reads of the Wan task; by default ``[wan] poll_interval``,
        and without it a schedule that knows how long such videos take.
    :param timeout: (s, or timedelta) how long the Wan task may take once it has left the gateway's queue; 3 h 15 min by
        default, as the gateways themselves give up after 3 h. Before the submit, a gateway that throttles create
        requests is outlasted for as long. A shorter ``execution_timeout`` counts for the whole wait, since Airflow does
        not apply it to a deferred task.
    :param queue_timeout: (s, or timedelta) how long the Wan task may be queued at the gateway, counted from the submit;
        24 h by default, for which the gateways keep a task.
    :param reuse: (bool) whether a video that is at ``output_path`` already, and was made by this very request, is
        handed on as it is, and nothing is submitted. False: a new video. It needs the record beside the video
        (``sidecar``).
    :param acceptance: what becomes of a video that differs from the request in length, resolution or sound: ``strict``
        rejects it, ``warn`` accepts it, logs the differences and names them in its record, ``off`` does not compare. A
        file that is not whole is always rejected.
    :param sidecar: (bool) whether to leave a record beside the video, ``<video>.json``: request, ids, times, cost,
        digest.
    :param poster: (bool) whether to leave the video's first frame beside it, as JPEG. It needs the extra
        ``inspection``.
    :returns: the path or URI of the video; its facts are under the XCom key ``wan_video``, see
        `airflow_wan.videos.wan_video.WanVideo`.
    """

    template_fields: Sequence[str] = (*WanSubmitVideoOperator.template_fields, "output_path")
    ui_color = "#d9e6ff"
    leaves_wan_order = False

    _job: VideoJob
    """What is left to do once the video is bought."""

    _video: FinishedVideo | None = None
    """The video of this run, for OpenLineage."""

    def __init__(
        self,
        *,
        output_path: str | PathLike[str] | ObjectStoragePath | None = None,
        deferrable: bool | None = None,
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_S,
        queue_timeout: timedelta | float = DEFAULT_QUEUE_TIMEOUT_S,
        reuse: bool = True,
        acceptance: Strictness = "strict",
        sidecar: bool = True,
        poster: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = path_text(output_path)
        self.deferrable = config.deferrable() if deferrable is None else deferrable
        self.reuse = reuse
        self.acceptance = checked_strictness(acceptance)
        self.sidecar = sidecar
        self.poster = poster
        interval = config.poll_interval() if poll_interval is None else poll_interval
        self.poll_interval = None if interval is None else seconds_of("poll_interval", interval)
        self.timeout = seconds_of("timeout", timeout)
        self.queue_timeout = seconds_of("queue_timeout", queue_timeout)

    def execute(self, context: Context) -> Any:
        """Submit, wait, and bring the video home; or hand on the one that is there already."""
        ledger = open_ledger(context)
        with errors_for_airflow(context, ledger=ledger):
            job = prepare_job(self, context, WanHook(self.wan_conn_id), ledger)
            request = self.checked_request(job.hook)
            earlier = ledger.read()
            if video := self.find_finished(job, request, earlier):
                context["ti"].xcom_push(key=WAN_TASK_ID_KEY, value=video.facts["wan_task_id"])
                return self.hand_over(job, video)
            self._job = job
            purchase = self.buy_once(context, request, job.hook, ledger, earlier)
            job = job.for_purchase(purchase)
            watch = watch_for(self, purchase.wan_task_id, purchase)
            tell_purchase(context, purchase, state="waiting", wait_until=watch.patience.latest)
            job.wait(watch, deferrable=self.deferrable)
            self.running = None  # it has ended: a kill has nothing to cancel
            return self.hand_over(job, job.deliver(purchase.wan_task_id, watch.seen, purchase))

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str:
        """Resume on a worker: bring the video home, or raise what ended the wait."""
        ledger = open_ledger(context)
        with errors_for_airflow(context, ledger=ledger):
            return self.hand_over(*resume(self, context, event, ledger))

    def find_finished(
        self, job: VideoJob, request: VideoRequest, earlier: Intent | Purchase | None
    ) -> FinishedVideo | None:
        """Return the video at the destination, if it is this very request's.

        :raises GatewayUnavailable: when the destination cannot be read for now.
        """
        from airflow_wan.videos.reuse import find_finished  # noqa: PLC0415 - pydantic and Pillow; only on a worker

        if earlier is None and not (self.reuse and self.sidecar):
            return None
        return find_finished(job.destination, request, earlier, poster=self.poster)

    def make_offer(self, request: VideoRequest, client: WanClient, hook: WanHook) -> Offer:
        """Return the request made ready to be sent, and note what is at the destination: only that may be replaced."""
        found_there = self._job.destination.version()
        self._job.check_before_buying(request)
        offer = super().make_offer(request, client, hook)
        return replace(offer, order=replace(offer.order, found_there=found_there))

    def longest_submit_s(self) -> float:
        """Return the seconds for which a gateway that throttles create requests is outlasted."""
        return longest_wait_s(self)

    def media_valid_for_s(self) -> float:
        """Return the seconds during which the gateway may still fetch the media: until the video is done.

        Neither gateway says when it fetches them.
        """
        return longest_wait_s(self) + longest_wait_in_all_s(self)

    def hand_over(self, job: VideoJob, video: FinishedVideo) -> str:
        """Hand on the path, and have the purchase record removed once Airflow knows of it."""
        self._video = video
        self.forget_when_successful()
        return job.hand_over(video)

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """Return the video and what it was made from; OpenLineage's own provider asks for it."""
        return openlineage_of(self._video.sources, self._video.facts) if self._video else None


class CapabilityOperator(WanGenerateVideoOperator):
    """What the operators of one capability each share: arguments in the API's own words, made into a request.

    A class names its arguments once, in `media_roles` and `parameter_names`; request and template fields follow.

    :param resolution: (str, templated) ``720P`` or ``1080P``, for some models ``480P``; 1080P costs more. By default
        720P, or the lowest that the model offers.
    :param prompt_extend: (bool, templated) whether the gateway may rewrite the prompt; its own default is true.
    :param watermark: (bool, templated) whether the video carries an "AI generated" mark; false by default. (HappyHorse
        has another default at DashScope, so false is sent.)
    :param seed: (int, templated) 0 to 2147483647, for repeatable videos.
    """

    fallback_resolution = DEFAULT_RESOLUTION

    media_roles: ClassVar[tuple[str, ...]] = ()
    """The arguments that are media of the request, named as the API names their type, in the order of the request."""

    parameter_names: ClassVar[tuple[str, ...]] = ()
    """The arguments that are ``parameters`` of the request, beside the shared ones."""

    _SHARED_PARAMETERS: ClassVar = ("resolution", "prompt_extend", "watermark", "seed")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make template fields of the arguments, beside those that the class itself names."""
        super().__init_subclass__(**kwargs)
        own, renderers = vars(cls).get("template_fields", ()), vars(cls).get("template_fields_renderers", {})
        arguments = (*cls._SHARED_PARAMETERS, *cls.parameter_names, *cls.media_roles)
        cls.template_fields = (*own, *WanGenerateVideoOperator.template_fields, *arguments)
        lists = {role: "json" for role in cls.media_roles if role.startswith("reference_")}
        cls.template_fields_renderers = renderers | WanGenerateVideoOperator.template_fields_renderers | lists

    def __init__(
        self,
        *,
        resolution: str | None = None,
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
        """Return the parameters named by argument, over any given as ``parameters``."""
        given = {} if is_unset(self.parameters) else self.parameters
        if not isinstance(given, Mapping):
            return cast("Mapping[str, Any]", given)  # it is refused with all other problems
        named = {name: getattr(self, name) for name in (*self._SHARED_PARAMETERS, *self.parameter_names)}
        return {**given, **{name: value for name, value in named.items() if not is_unset(value)}}

    def request_media(self) -> Sequence[Mapping[str, Any]]:
        """Return the media named by argument, then any given as ``media``."""
        media = () if self.media is None or is_unset(self.media) else self.media
        if not is_sequence(media):
            return media  # it is refused with all other problems
        named = [item for role in self.media_roles for item in _media_items(role, getattr(self, role))]
        return [*named, *media]


class WanTextToVideoOperator(CapabilityOperator):
    """Makes a video from words alone, with a sound track if one is given (``audio_url``), and hands on its path.

    :param prompt: (str, templated) what should happen in the video.
    :param ratio: (str, templated) ``16:9``, ``9:16``, ``1:1``, ``4:3`` or ``3:4``; the gateway's own default is 16:9.
    :param duration: (s, templated) an integer from 2 to 15, or ``audio``: as long as the sound track, in whole seconds.
    :param model: (str, templated) model id.
    """

    parameter_names = ("duration", "ratio")

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


class WanImageToVideoOperator(CapabilityOperator):
    """Sets an image in motion, driven by a voice or music track if one is given, and hands on the video's path.

    :param prompt: (str, templated) what should happen in the video.
    :param first_frame: (str, templated) the image that the video starts from: a public https URL, an object store URI,
        an absolute local path or a data URI.
    :param driving_audio: (str, templated) a wav or mp3 of 2 to 30 s that lips and rhythm follow; wan2.7-i2v and
        wan2.6-i2v only.
    :param last_frame: (str, templated) the image that the video ends with.
    :param duration: (s, templated) an integer from 2 to 15, or ``audio``: as long as the sound track, in whole seconds.
    :param model: (str, templated) model id.
    """

    media_roles = ("first_frame", "last_frame", "driving_audio")
    parameter_names = ("duration",)

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


class WanReferenceToVideoOperator(CapabilityOperator):
    """Makes a video with the persons, things or voices of references in it, and hands on the video's path.

    The prompt names references by their order: "image 1", "video 1" (Wan), "[Image 1]" (HappyHorse).

    :param prompt: (str, templated) what should happen in the video.
    :param reference_image: (str, dict, or a list of either, templated) images: URLs, or dicts with ``url`` and
        ``reference_voice``, a wav or mp3 of 1 to 10 s.
    :param reference_video: (str, dict, or a list of either, templated) videos, given likewise. Images and videos are
        at most 5 together (HappyHorse: 9 images).
    :param first_frame: (str, templated) the image that the video starts from; ``ratio`` is then ignored.
    :param ratio: (str, templated) ``16:9``, ``9:16``, ``1:1``, ``4:3`` or ``3:4``; the gateway's own default is 16:9.
    :param duration: (s, templated) an integer from 2 to 15; to 10 with a reference video.
    :param model: (str, templated) model id.
    """

    media_roles = ("reference_image", "reference_video", "first_frame")
    parameter_names = ("duration", "ratio")

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


class WanEditVideoOperator(CapabilityOperator):
    """Changes a video by words and reference images, and hands on the new video's path.

    :param prompt: (str, templated) what should change.
    :param video: (str, templated) the video to change, mp4 or mov, 2 to 10 s.
    :param reference_image: (str, dict, or a list of either, templated) images of what should come into the video;
        APIYI requires one.
    :param duration: (s, templated) by default that of the source (DashScope only).
    :param ratio: (str, templated) by default that of the source (DashScope only).
    :param audio_setting: (str, templated) ``auto``, or ``origin`` to keep the source's sound (DashScope only).
    :param model: (str, templated) model id.
    """

    media_roles = ("video", "reference_image")
    parameter_names = ("duration", "ratio", "audio_setting")

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


def _as_plain_values(value: Any) -> Any:
    """Return a rendered field as plain JSON values: lists for lazy sequences, texts for paths."""
    if isinstance(value, Mapping):
        return {name: _as_plain_values(inner) for name, inner in value.items()}
    if is_sequence(value):
        return [_as_plain_values(inner) for inner in value]
    return path_as_text(value)


def _media_items(role: str, given: object) -> Iterator[Mapping[str, Any]]:
    """Yield the media items of one role, from a URL, from a dict with more than a URL, or from a list of either."""
    if is_sequence(given):
        for one in cast("Sequence[Any]", given):
            yield from _media_items(role, one)
    elif isinstance(given, Mapping):
        yield {"type": role, **given}
    elif not is_unset(given):
        yield {"type": role, "url": given}


def _checked(name: str, value: T, choices: object) -> T:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
    return value
