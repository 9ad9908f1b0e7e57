"""How long videos take to be made: what the gateways' own pages say at first, and what this process has seen since.

Nothing here reads a clock. A task's age counts from the moment when the gateway took it out of its queue, where the
gateway tells it, and else from its submission. What is known of a kind of video is its *hazard* at each age: the chance
per second that a task of that age ends.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

LONGEST_S = 4 * 3600.0
"""Longest duration that is learnt, in seconds. The gateways give a task up after 3 h."""

PRIOR_WEIGHT = 7.0
"""How many seen videos of a kind the prior knowledge of it is worth."""

MOST_REMEMBERED = 200.0
"""How many videos of a kind are remembered at full weight; of more, the older ones count less and less."""

MOST_KINDS = 64
"""How many kinds of video are remembered: those that were used last."""


@dataclass(frozen=True, slots=True)
class VideoKind:
    """What the time to make a video depends on, as far as it is known.

    :param model: the model id.
    :param resolution: the resolution, such as ``720P``.
    :param duration_s: the length of the video, in seconds.
    """

    model: str | None = None
    resolution: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Prior:
    """What is known before a video was seen: a shifted log-normal distribution.

    :param least_s: seconds that every video takes.
    :param median_s: seconds that half of the videos take at most.
    """

    least_s: float
    median_s: float

    def for_kind(self, kind: VideoKind) -> _Prior:
        """Return the prior of one kind.

        The sources speak of 5 s at 720P, and none tells what more pixels or seconds cost: these factors are assumed,
        and soon outweighed by what is seen.
        """
        stretch = _STRETCH.get(kind.resolution or "", 1.0) * math.sqrt(min(max((kind.duration_s or 5.0) / 5, 0.5), 6))
        return _Prior(self.least_s, self.least_s + (self.median_s - self.least_s) * stretch)

    def share_ended(self, age_s: float) -> float:
        """Return the share of tasks that have ended at an age in seconds."""
        early = _EARLY_SHARE * min(1.0, age_s / self.least_s)
        if age_s <= self.least_s:
            return early
        deviations = math.log((age_s - self.least_s) / (self.median_s - self.least_s)) / _SPREAD
        return early + (1 - _EARLY_SHARE) * 0.5 * math.erfc(-deviations / math.sqrt(2))


_SPREAD = 0.8
"""Standard deviation of the logarithm of the seconds above the least. The published 83 to 253 s lie within it."""

_EARLY_SHARE = 0.01
"""Share of tasks that are assumed to end before any video can be done, because the gateway refuses what is in them."""

_STRETCH = {"480P": 0.7, "720P": 1.0, "1080P": 1.5}

_PRIORS = (
    # APIYI's pages tell typical times. i2v: 70 to 90 s; r2v: 120 to 140 s, and 1 to 5 min with several references.
    ("wan2.7-i2v", _Prior(60, 90)),
    ("wan2.7-r2v", _Prior(70, 130)),
    # A user measured 13 clips of 5 s: 83 to 253 s, 104.6 s in the median (dev.to/owen_fox). APIYI: 100 to 120 s.
    ("wan2.7", _Prior(78, 105)),
    # APIYI: 105 to 115 s.
    ("happyhorse", _Prior(80, 110)),
    # Alibaba's wan3.0 page: its one sample took 12 minutes from submit to end.
    ("wan3.0", _Prior(300, 720)),
    # Alibaba: a video typically takes 1 to 5 minutes.
    ("", _Prior(40, 120)),
)
"""Prior knowledge by the beginning of the model id."""


def _edges() -> tuple[float, ...]:
    """Return the ages, in seconds, at which the bins of a hazard begin: every 5 s at first, every 5 % later."""
    edges = [5.0 * step for step in range(13)]
    while edges[-1] < LONGEST_S:
        edges.append(edges[-1] * 1.05)
    return tuple(edges)


_EDGES = _edges()
_BINS = len(_EDGES) - 1

_LEAST_ALIVE = 0.02
"""Least share of tasks that the weight of the prior in a bin is made of: some remains where hardly a task comes."""

_LEAST_HAZARD = 1e-6
"""Smallest chance per second that the prior gives a task to end, at any age."""

_CERTAIN = 30.0
"""Cumulated hazard from which on a task is taken for ended."""


class RunTimes:
    """How long the videos of one kind take. Ages are in seconds since a task began to run."""

    __slots__ = ("_ended", "_hazards", "_median_s", "_ran", "_videos")

    def __init__(self, kind: VideoKind) -> None:
        model = kind.model or ""
        prior = next(known for beginning, known in _PRIORS if model.startswith(beginning)).for_kind(kind)
        self._ended, self._ran, self._hazards = array("d"), array("d"), array("d")
        self._videos = 0.0
        self._median_s: float | None = None
        for first, last in pairwise(_EDGES):
            alive = 1 - prior.share_ended(first)
            share = 1 - (1 - prior.share_ended(last)) / alive if alive > _LEAST_ALIVE else 0.0
            hazard = max(-math.log1p(-min(share, 0.99)) / (last - first), _LEAST_HAZARD)
            if first > prior.median_s:
                # Past what the prior can tell, three in four tasks are assumed to end before they are twice as old.
                hazard = max(hazard, 2 / last)
            ran = PRIOR_WEIGHT * (last - first) * max(alive, _LEAST_ALIVE)
            self._ran.append(ran)
            self._ended.append(hazard * ran)
            self._hazards.append(hazard)

    @property
    def videos(self) -> float:
        """How many videos of the kind have ended, as far as they are remembered."""
        return self._videos

    def learn(self, ran_s: float, *, counted_s: float = 0.0) -> None:
        """Learn that a task ended; absurd times teach nothing.

        :param ran_s: its age when it ended.
        :param counted_s: the age up to which `still_running` has been told of it.
        """
        if not 0 <= ran_s <= LONGEST_S:
            return
        self.still_running(counted_s, ran_s)
        self._videos += 1
        self._median_s = None
        index = _bin(ran_s)
        # Ages near the one that was seen are as likely.
        for near, weight in ((index - 1, 0.25), (index, 0.5), (index + 1, 0.25)):
            near_bin = min(max(near, 0), _BINS - 1)
            self._ended[near_bin] += weight
            self._hazards[near_bin] = self._ended[near_bin] / self._ran[near_bin]
        if self._videos > MOST_REMEMBERED:
            self._videos /= 2
            for each in range(_BINS):
                self._ended[each] /= 2
                self._ran[each] /= 2

    def still_running(self, from_s: float, to_s: float) -> None:
        """Learn that a task ran from one age to another, and did not end meanwhile."""
        if not 0 <= from_s < to_s <= LONGEST_S:
            return
        index = _bin(from_s)
        while from_s < to_s:
            last = min(_EDGES[index + 1], to_s)
            self._ran[index] += last - from_s
            self._hazards[index] = self._ended[index] / self._ran[index]
            from_s = last
            index = min(index + 1, _BINS - 1)

    @property
    def median_s(self) -> float:
        """How long half of the videos take at most."""
        if self._median_s is None:
            self._median_s = self.quantile_s(0.5)
        return self._median_s

    def age_worth(self, seen_s: float, worth_s: float) -> float:
        """Return the age at which a read is worth so much.

        :param seen_s: the age at which the task was last known to run.
        """
        hazard_so_far = 0.0
        at = seen_s
        for index in range(_bin(seen_s), _BINS):
            hazard = self._hazards[index]
            width = _EDGES[index + 1] - at if index < _BINS - 1 else math.inf
            # What a read is worth grows at least with the square of the time.
            most = math.sqrt(2 * worth_s / hazard)
            gain = _odds_integral(hazard_so_far, hazard, width) if width < most else math.inf
            if gain >= worth_s:
                return at + _solve(hazard_so_far, hazard, min(width, most), worth_s)
            worth_s -= gain
            hazard_so_far = min(hazard_so_far + hazard * width, _CERTAIN)
            at += width
        return at

    def share_ended(self, age_s: float, *, seen_s: float = 0.0) -> float:
        """Return the probability that a task has ended at an age, if it ran at an earlier one."""
        return -math.expm1(-self._cumulated(seen_s, age_s))

    def quantile_s(self, share: float, *, seen_s: float = 0.0) -> float:
        """Return the age at which a share of the tasks has ended, of those that ran at an earlier age."""
        wanted = -math.log1p(-min(share, 0.999))
        at = seen_s
        for index in range(_bin(seen_s), _BINS):
            width = max(_EDGES[index + 1] - at, 0.0)
            hazard = self._hazards[index]
            if hazard * width >= wanted:
                return at + wanted / hazard
            wanted -= hazard * width
            at += width
        return at

    def _cumulated(self, from_s: float, to_s: float) -> float:
        total = 0.0
        index = _bin(from_s)
        while from_s < to_s:
            last = min(_EDGES[index + 1], to_s) if index < _BINS - 1 else to_s
            total += self._hazards[min(index, _BINS - 1)] * (last - from_s)
            from_s = last
            index += 1
        return total


class Durations:
    """What this process knows of how long videos take. Bounded: the kinds that were asked for last are kept."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[VideoKind, RunTimes] = OrderedDict()

    def of(self, kind: VideoKind) -> RunTimes:
        """Return what is known of a kind of video."""
        kind = _plain(kind)
        times = self._kinds.get(kind)
        if times is None:
            times = self._kinds[kind] = RunTimes(kind)
            if len(self._kinds) > MOST_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(kind)
        return times


def _plain(kind: VideoKind) -> VideoKind:
    """Return a kind without differences that mean nothing."""
    resolution = kind.resolution.upper() if kind.resolution else None
    duration_s = kind.duration_s
    if duration_s is None or not 0 < duration_s < LONGEST_S:
        return VideoKind(kind.model, resolution)
    return VideoKind(kind.model, resolution, round(duration_s))


def _bin(age_s: float) -> int:
    return min(max(bisect_right(_EDGES, age_s) - 1, 0), _BINS - 1)


def _odds_integral(hazard_so_far: float, hazard: float, seconds: float) -> float:
    """Return the integral of the odds that a task has ended, over a time in which its hazard does not change."""
    return math.exp(hazard_so_far) * math.expm1(min(hazard * seconds, _CERTAIN)) / hazard - seconds


def _solve(hazard_so_far: float, hazard: float, seconds: float, wanted: float) -> float:
    """Return after how many seconds, at most so many, the integral of the odds is what is wanted."""
    at = seconds
    for _ in range(8):  # Newton's method, from the right on a convex function: it never overshoots.
        odds = math.exp(hazard_so_far) * math.exp(min(hazard * at, _CERTAIN)) - 1
        step = (_odds_integral(hazard_so_far, hazard, at) - wanted) / odds if odds > 0 else 0.0
        at -= step
        if abs(step) < 0.01:  # noqa: PLR2004 - seconds, finer than any read is sent
            break
    return max(at, 0.0)
