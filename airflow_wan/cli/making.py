"""Makes a video and brings it home: the way of an operator, with a purchase record in a file beside the video.

Each command reads the record, and does what is left to do. So whatever ends a command, the same command goes on.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from airflow_wan import config
from airflow_wan.api.arguments import show
from airflow_wan.api.tasks import TaskStatus
from airflow_wan.cli.beside import Neighbours
from airflow_wan.cli.failures import Stopped
from airflow_wan.cli.interrupts import HeldLedger, Interrupts
from airflow_wan.cli.progress import Stages
from airflow_wan.cli.wish import build_request, current_folder
from airflow_wan.exceptions import (
    CostLimitExceeded,
    DestinationError,
    GatewayUnavailable,
    InvalidVideoRequest,
    LedgerUnreadable,
    RateLimited,
    RequestChanged,
    VideoTaskFailed,
    VideoTaskLost,
)
from airflow_wan.purchases.buyer import buy
from airflow_wan.purchases.decision import Choice, Keep, Policy, Remedies, decide, readable_time
from airflow_wan.purchases.earlier_try import what_became_of
from airflow_wan.purchases.file_ledger import FileLedger
from airflow_wan.purchases.ledger import clear_purchase
from airflow_wan.purchases.offer import make_offer
from airflow_wan.purchases.record import NOTHING_KNOWN, Intent, Purchase, fingerprint_of
from airflow_wan.videos import before_buying, ownership
from airflow_wan.videos.acceptance import checked_strictness
from airflow_wan.videos.address import is_object, is_relative, read_address
from airflow_wan.videos.delivery import Delivery
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.reuse import find_finished
from airflow_wan.videos.sidecar import read_sidecar, video_matches
from airflow_wan.videos.steps import ask, check_download, check_poster, paid_for
from airflow_wan.videos.wan_video import finished_video
from airflow_wan.waiting.durations import VideoKind
from airflow_wan.waiting.patience import DEFAULT_QUEUE_TIMEOUT_S
from airflow_wan.waiting.single_wait import SingleWait
from airflow_wan.waiting.watch import DEFAULT_TIMEOUT_S, Verdict, VideoWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.cli.access import CommandHook
    from airflow_wan.cli.options import Access, Patience, Plan, Wish
    from airflow_wan.cli.screen import Screen
    from airflow_wan.purchases.buyer import Offer
    from airflow_wan.purchases.record import Order
    from airflow_wan.videos.acceptance import Strictness
    from airflow_wan.videos.wan_video import FinishedVideo

POLL_S = 5.0
"""Seconds between two reads of a Wan task, unless ``[wan] poll_interval`` says otherwise: somebody looks at the bars.
APIYI asks for 5 to 10 s, and DashScope admits 20 reads a second."""

_TICK_S = 0.25
"""Seconds between two moves of the bars."""


@dataclass(frozen=True, slots=True)
class Making:
    """The making of one video at one place.

    :param hook: the account.
    :param access: how the account was named, for what is told to a person.
    :param path: where the video goes.
    :param patience: how long it is waited for, and what is left beside it.
    :param screen: where progress is told.
    """

    hook: CommandHook
    access: Access
    path: Path
    patience: Patience
    screen: Screen

    @property
    def destination(self) -> Destination:
        """Where the video goes."""
        return Destination(str(self.path))

    def generate(self, wish: Wish, plan: Plan) -> FinishedVideo:
        """Return the video of a wish: the one that is there, the one that is being made, or one that is bought now.

        :param wish: the video that is wanted.
        :param plan: how it is bought.
        :raises WanError: when there is no video, or none may be bought.
        :raises Stopped: when a signal came; it says what goes on.
        """
        policy = Policy(_checked_choice(plan.on_ambiguous_submit), "resubmit" if plan.new else "fail")
        if plan.max_cost is not None and not plan.max_cost >= 0:
            raise InvalidVideoRequest([f"--max-cost must be a non-negative number of USD, got {plan.max_cost:g}."])
        if wish.adapt_media and not plan.preflight:
            raise InvalidVideoRequest(["--adapt-media needs the preflight, which measures the media."])
        self._prepare()
        with self._at_work() as work:
            account = self.hook.account
            request = build_request(wish, account.gateway, account.base_url, self.screen)
            ledger, earlier = work.ledger, work.ledger.read()
            if video := self._find_there(request, earlier, plan):
                self._forget(ledger)
                return video
            purchase = self._buy_once(request, earlier, policy, _Terms(wish, plan), work)
            return self._bring_home(purchase.wan_task_id, purchase, work)

    def fetch(self, wan_task_id: str | None) -> FinishedVideo:
        """Return the video of a Wan task that was submitted before. Nothing is bought.

        :param wan_task_id: the Wan task; None for the one in the purchase record.
        :raises WanError: when there is no video.
        :raises Stopped: when a signal came; it says what goes on.
        """
        self._prepare()
        with self._at_work(wan_task_id) as work:
            record = work.ledger.read()
            purchase = _purchase_of(record, wan_task_id, work.ledger)
            if purchase is None and wan_task_id is None:
                raise DestinationError(
                    f"There is no purchase record beside {self.destination}. Give the id of the Wan task."
                )
            wanted = purchase.wan_task_id if purchase else str(wan_task_id)
            video = self._fetched_before(wanted)
            if video is None:
                if wan_task_id is not None and not isinstance(record, Purchase):
                    self._check_is_known(wan_task_id)
                return self._bring_home(wanted, purchase, work)
            self._forget(work.ledger)
            return video

    def _check_is_known(self, wan_task_id: str) -> None:
        """Check that the gateway knows a Wan task that a person has typed: a wait would outlast a slip of the pen.

        :raises WanError: when it does not, or refuses the key; any other trouble is the wait's.
        """
        try:
            with self.hook.get_conn() as client:
                task = client.get_task(wan_task_id)
        except (GatewayUnavailable, RateLimited):
            return
        if task.status is TaskStatus.UNKNOWN:
            raise VideoTaskLost("The gateway does not know this Wan task.", code=task.code, wan_task_id=wan_task_id)

    def _prepare(self) -> None:
        """Check everything about the destination that can be checked for nothing."""
        _checked_acceptance(self.patience.acceptance)
        if self.patience.timeout is not None and not self.patience.timeout > 0:
            raise InvalidVideoRequest(
                [f"--timeout must be a positive number of seconds, got {self.patience.timeout:g}."]
            )
        if self.patience.poster:
            check_poster()
        self.destination.prepare()
        before_buying.check_names(self.destination, **self._wanted)
        check_download(self.hook)

    @property
    def _wanted(self) -> dict[str, bool]:
        return {"sidecar": True, "poster": self.patience.poster}

    def _find_there(self, request: VideoRequest, earlier: Intent | Purchase | None, plan: Plan) -> FinishedVideo | None:
        """Return the video that is there, if it is the one that is wanted.

        :raises RequestChanged: when it is of another request, and none may be bought in its place.
        """
        if earlier is None and plan.new:
            return None
        found = find_finished(self.destination, request, earlier, poster=self.patience.poster)
        if found is None and earlier is None:
            record = read_sidecar(self.destination)
            if record is not None and video_matches(self.destination, record):
                of_sources = record.fingerprint == fingerprint_of(request.body)
                what = "was made from files that have changed since" if of_sources else "was made by another request"
                raise RequestChanged(
                    f"The video at {self.destination} {what} (wan task {record.gateway.wan_task_id}). Nothing was "
                    "sent. Give another --output, or buy another video in its place with --new.",
                    wan_task_id=record.gateway.wan_task_id,
                )
        return found

    def _buy_once(
        self,
        request: VideoRequest,
        earlier: Intent | Purchase | None,
        policy: Policy,
        terms: _Terms,
        work: _Work,
    ) -> Purchase:
        """Return what an earlier command bought, or buy: decide → prepare → buy, as an operator does."""
        if isinstance(earlier, Intent):
            self.screen.say("An earlier create request has had no answer; asking the gateway what became of it.")
        found = what_became_of(
            earlier,
            request,
            hook=self.hook,
            ledger=work.held_ledger,
            siblings=Neighbours(work.ledger, self.path),
            poll_interval_s=config.poll_interval(),
        )
        decision = decide(
            found.record,
            found.status,
            fingerprint=fingerprint_of(request.body),
            policy=policy,
            remedies=self._remedies(work.ledger),
            search=found.search,
        )
        if isinstance(decision, Keep):
            return decision.purchase
        with self.hook.get_conn() as client:
            offer = self._offer(request, client, terms)
            self.screen.say(f"{request}: {_cost_in_words(offer)}")
            if config.dry_run():
                raise CostLimitExceeded("[wan] dry_run is set, so nothing is bought. Remove it to buy the video.")
            with work.interrupts.until_settled():
                purchase = buy(
                    offer,
                    client,
                    hook=self.hook,
                    ledger=work.held_ledger,
                    this_try=work.ledger,
                    seen=found.record,
                    instead_of=decision.instead_of,
                    longest_s=self._timeout_s,
                )
        self.screen.say(f"Submitted to {self.hook.account.gateway.title} as wan task {purchase.wan_task_id}.")
        return purchase

    def _offer(self, request: VideoRequest, client: WanClient, terms: _Terms) -> Offer:
        """Return the request made ready to be sent, once it is known that the video may go to its place."""
        found_there = self.destination.version()
        problem = before_buying.overwritten_source(self.destination, request, **self._wanted) or ownership.why_not_ours(
            self.destination, None, frozenset(), **self._wanted
        )
        if problem:
            raise DestinationError(f"{problem} Nothing was sent.")
        offer = make_offer(
            request,
            client,
            self.hook.account,
            media_valid_for_s=2 * self._timeout_s + DEFAULT_QUEUE_TIMEOUT_S,
            preflight=terms.plan.preflight,
            max_cost_usd=terms.plan.max_cost,
            send_media=not config.dry_run(),
            adapt_media=terms.wish.adapt_media,
            cut_audio=terms.wish.cut_audio,
        )
        return replace(offer, order=replace(offer.order, found_there=found_there))

    def _bring_home(self, wan_task_id: str, purchase: Purchase | None, work: _Work) -> FinishedVideo:
        """Return the video of a Wan task, once it is made and at its place; then its purchase record is not needed."""
        order = purchase.order if purchase else NOTHING_KNOWN
        hook = self.hook.for_purchase(purchase.intent.wan_conn_id, purchase.intent.base_url) if purchase else self.hook
        watch = self._watch(wan_task_id, order, purchase)
        with Stages(self.screen, watch.kind) as stages:
            self._wait(hook, watch, stages, work.ledger)
            delivery = Delivery(
                destination=self.destination,
                account=hook.account,
                purchase=purchase,
                acceptance=_checked_acceptance(self.patience.acceptance),
                poster=self.patience.poster,
                seen=watch.seen,
                tell_bytes=stages.see_bytes,
            )
            with paid_for(wan_task_id), hook.get_conn() as client:
                video = delivery.deliver(client, wan_task_id)
        self._forget(work.ledger)
        return video

    def _forget(self, ledger: FileLedger) -> None:
        """Remove the record of a purchase whose video is at its place. One that stays does no harm."""
        try:
            ledger.clear()
        except LedgerUnreadable as error:
            self.screen.say(f"Warning: {error.message}. The video is at its place all the same.")

    def _watch(self, wan_task_id: str, order: Order, purchase: Purchase | None) -> VideoWatch:
        """Return the wait, its time counted from the submit; a command that comes later gets all of it again."""
        now = time.time()
        started = purchase.submitted_at if purchase and purchase.submitted_at + self._timeout_s > now else now
        return VideoWatch(
            wan_task_id,
            started,
            started + self._timeout_s,
            config.poll_interval() or POLL_S,
            queue_deadline=started + DEFAULT_QUEUE_TIMEOUT_S,
            latest=started + DEFAULT_QUEUE_TIMEOUT_S + self._timeout_s,
            kind=VideoKind(order.model, order.resolution, order.seconds),
        )

    @staticmethod
    def _wait(hook: CommandHook, watch: VideoWatch, stages: Stages, ledger: FileLedger) -> None:
        """Return when the Wan task has succeeded.

        :raises WanError: what ended the wait without a video.
        """
        wait = SingleWait(watch, time.time())
        decision = ask(hook, wait)
        stages.see(watch)
        while decision.verdict is Verdict.WAIT:
            until = time.time() + wait.pause_s(time.time())
            while (left_s := until - time.time()) > 0:
                time.sleep(min(left_s, _TICK_S))
                stages.tick()
            decision = ask(hook, wait)
            stages.see(watch)
        if isinstance(decision.error, VideoTaskFailed):
            clear_purchase(ledger, watch.wan_task_id)  # it is not billed: the same command may buy again
        elif decision.error is not None:
            decision.error.billed = None  # the Wan task may go on
        if decision.error is not None:
            raise decision.error

    @property
    def _timeout_s(self) -> float:
        return self.patience.timeout or DEFAULT_TIMEOUT_S

    def _fetched_before(self, wan_task_id: str) -> FinishedVideo | None:
        """Return the video of a Wan task if it is at its place already.

        :raises DestinationError: when another file is there, which it would replace.
        """
        if self.destination.size() is None:
            return None
        record = read_sidecar(self.destination)
        if record is None or record.gateway.wan_task_id != wan_task_id:
            raise DestinationError(f"At {self.destination} is another file, which stays there. Give another --output.")
        if not video_matches(self.destination, record):
            return None
        return finished_video(record, self.destination, poster=None, was_bought=None, reused=True)

    def _remedies(self, ledger: FileLedger) -> Remedies:
        return Remedies(
            lost=f"To buy the video again, delete {ledger.where} and run the command again.",
            uncertain=(
                "Look for a task of that time in the gateway's console. If there is one, fetch it: "
                f"{self.fetch_command('TASK_ID')}. If there is none, delete {ledger.where}, or give "
                "--on-ambiguous-submit resubmit, and run the command again."
            ),
            changed=(
                f"Nothing was sent. That video can be fetched within 24 h: {self.fetch_command()}. To buy the changed "
                "one in its place, give --new; to have both, give another --output."
            ),
        )

    def fetch_command(self, wan_task_id: str | None = None) -> str:
        """Return the command that brings the video home, as it can be typed."""
        return self._command("fetch", *([wan_task_id] if wan_task_id else []))

    def _command(self, *words: str) -> str:
        return shlex.join(["airflow-wan", *words, "-o", str(self.path), *_account_options(self.access)])

    def _stopped(self, ledger: FileLedger, number: int, fetched: str | None) -> Stopped:
        """Return what a command says that a signal has stopped: what was bought, and how to get it.

        :param ledger: the purchase record.
        :param number: the signal.
        :param fetched: the Wan task of a command that buys nothing.
        """
        try:
            record = ledger.read()
        except LedgerUnreadable as error:
            return Stopped(f"Stopped. {error.message}", billed=None, signal=number)
        if record is None and fetched is not None:
            return Stopped(
                f"Stopped. Wan task {fetched} is as it was.",
                advice=f"To fetch its video: {self.fetch_command(fetched)}.",
                wan_task_id=fetched,
                billed=None,
                signal=number,
            )
        if record is None:
            return Stopped("Stopped. Nothing was bought.", billed=False, signal=number)
        if isinstance(record, Intent):
            return Stopped(
                "Stopped before the answer to the create request: the video may be in the making, and may be billed.",
                advice="Run the same command again: it sends no second request, and says what became of this one.",
                billed=None,
                signal=number,
            )
        gateway, usd = self.hook.account.gateway, record.order.estimated_usd
        cost = f" (about {usd:.2f} USD)" if usd is not None else ""
        ways = [
            "To get the video, run the same command again: it buys nothing new.",
            f"Or fetch it, until 24 h after the submit: {self.fetch_command()}",
        ]
        if gateway.can_cancel:
            ways += [f"To cancel it while it is queued: {self._command('cancel')}"]
        return Stopped(
            f"Stopped. Wan task {record.wan_task_id} goes on at {gateway.title}, and its video is billed{cost}. It was "
            f"submitted on {readable_time(record.submitted_at)}.",
            advice="\n".join(ways),
            wan_task_id=record.wan_task_id,
            billed=None,
            signal=number,
        )

    @contextlib.contextmanager
    def _at_work(self, fetched: str | None = None) -> Iterator[_Work]:
        """Provide the purchase record, and turn a signal into what it has stopped.

        :param fetched: the Wan task of a command that buys nothing.
        """
        interrupts = Interrupts(self._tell_wait)
        with interrupts, FileLedger(self.path) as ledger:
            try:
                yield _Work(ledger, HeldLedger(ledger, interrupts), interrupts)
            except KeyboardInterrupt:
                raise self._stopped(ledger, interrupts.signal, fetched) from None

    def _tell_wait(self) -> None:
        self.screen.say(
            "Waiting for the gateway's answer to the create request, so that the video is not lost. Press Ctrl-C again "
            "to stop at once."
        )


@dataclass(frozen=True, slots=True)
class _Terms:
    """What is wanted, and how it is bought."""

    wish: Wish
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Work:
    """What a command has in its hands while it works at a video.

    :param ledger: the purchase record, locked.
    :param held_ledger: the same, with which signals wait until an intent has become a purchase.
    :param interrupts: the signals.
    """

    ledger: FileLedger
    held_ledger: HeldLedger
    interrupts: Interrupts


def local_path(output: str) -> Path:
    """Return the absolute path of a video.

    :param output: its path.
    :raises InvalidVideoRequest: when there can be no such path, or it is not on this machine.
    """
    path = os.path.expanduser(output.strip())  # noqa: PTH111 - a Path would change a URI, and drop a slash at its end
    if is_relative(path):
        path = f"{current_folder()}/{path}"
    try:
        address = read_address(path)
        if is_object(address):
            raise ValueError("is no local path, which the purchase record beside it needs")  # noqa: TRY301
        return Path(address)
    except ValueError as problem:
        raise InvalidVideoRequest([f"--output {show(output)} {problem}."]) from None


def _purchase_of(record: Intent | Purchase | None, wan_task_id: str | None, ledger: FileLedger) -> Purchase | None:
    """Return what is known of the submit of a Wan task that is to be fetched.

    :param record: the record at the place where the video goes.
    :param wan_task_id: the Wan task that a person has named.
    :param ledger: the ledger with the record.
    :raises DestinationError: when the record is that of another Wan task, or of one that nobody knows.
    """
    if record is None:
        return None
    if isinstance(record, Intent):
        if wan_task_id is None:
            raise DestinationError(f"{ledger.path} does not tell the Wan task, for its answer was lost. Give its id.")
        return Purchase(record, wan_task_id, request_id=None, submitted_at=record.intent_at)
    if wan_task_id not in (None, record.wan_task_id):
        raise DestinationError(f"{ledger.path} is the record of wan task {record.wan_task_id}. Give another --output.")
    return record


def _account_options(access: Access) -> list[str]:
    named = {"--conn-id": access.conn_id, "--gateway": access.gateway, "--base-url": access.base_url}
    return [word for option, value in named.items() if value for word in (option, value)]


def _cost_in_words(offer: Offer) -> str:
    usd = offer.order.estimated_usd
    return "its cost is not known" if usd is None else f"about {usd:.2f} USD (an estimate)"


def _checked_choice(value: str) -> Choice:
    if value not in get_args(Choice):
        raise InvalidVideoRequest([f"--on-ambiguous-submit must be {' or '.join(get_args(Choice))}, got {value!r}."])
    return cast("Choice", value)


def _checked_acceptance(value: str) -> Strictness:
    try:
        return checked_strictness(value)
    except ValueError as problem:
        raise InvalidVideoRequest([f"--{problem}."]) from None
