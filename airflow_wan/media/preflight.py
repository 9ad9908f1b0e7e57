"""Check media against the gateway's limits before anything is bought, by their headers alone.

A file that breaks a limit is a problem. A file that cannot be measured from here is only worth a warning: the gateway
may be able to read what a worker cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.api.media_items import DURATION_TOLERANCE_S
from airflow_wan.api.rules import MB, AudioLimits, ClipLimits, ImageLimits, MediaKind, MediaLimits
from airflow_wan.exceptions import InvalidVideoRequest, NotMediaError
from airflow_wan.media.containers import what_it_is
from airflow_wan.media.probing import (
    AudioFacts,
    ClipFacts,
    ImageFacts,
    MediaFacts,
    probe_audio,
    probe_clip,
    probe_image,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_wan.api.media_items import MediaReference


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of measuring one file.

    :param facts: what its header says, if it could be read.
    :param problems: one sentence for each limit that it breaks, with the measured and the allowed value.
    """

    facts: MediaFacts | None = None
    problems: tuple[str, ...] = field(default=())


_PROBES: Mapping[MediaKind, Callable[[BinaryIO], MediaFacts]] = {
    MediaKind.IMAGE: probe_image,
    MediaKind.AUDIO: probe_audio,
    MediaKind.VIDEO: probe_clip,
}


def measure(reference: MediaReference, shown: str, file: BinaryIO) -> Measured:
    """Read a file's header, and check it against the file's limits.

    :param reference: the file's role in the request, and its limits.
    :param shown: the file's name for messages.
    :param file: the file, opened.
    :raises OSError: when the file cannot be read.
    """
    probe = _PROBES.get(reference.kind)
    if probe is None:
        return Measured()
    try:
        facts = probe(file)
    except NotMediaError as error:
        formats = getattr(reference.limits, "formats", None)
        allowed = f"; {_alternatives(formats)} is allowed" if formats else ""
        return Measured(problems=(f"{reference.role}: {shown} is not {_in_words(error, file)}{allowed}.",))
    broken = violations(facts, reference.limits) if reference.limits else ()
    return Measured(facts, tuple(f"{reference.role}: {shown} {violation}." for violation in broken))


def size_problem(reference: MediaReference, shown: str, size: int) -> str | None:
    """Return a sentence if a file is empty, or larger than its limits allow; None otherwise.

    :param reference: the file's role in the request, and its limits.
    :param shown: the file's name for messages.
    :param size: its size, in bytes.
    """
    if not size:
        return f"{reference.role}: {shown} is empty."
    violation = next(_size_violations(size, reference.limits), None) if reference.limits else None
    return f"{reference.role}: {shown} {violation}." if violation else None


def require_media(reference: MediaReference, shown: str, file: BinaryIO) -> None:
    """Return only if the header of a file shows that it is media of the kind that its role wants.

    :param reference: the file's role in the request.
    :param shown: the file's name for messages.
    :param file: the file, opened.
    :raises InvalidVideoRequest: when it is something else.
    :raises Exception: when it cannot be read; each store has its own errors.
    """
    probe = _PROBES.get(reference.kind)
    if probe is None:
        raise InvalidVideoRequest(
            [f"{reference.role}: it is not known what kind of file belongs there, so {shown} is not sent; give a URL."]
        )
    try:
        probe(file)
    except NotMediaError as error:
        raise InvalidVideoRequest([f"{reference.role}: {shown} is not {_in_words(error, file)}."]) from None


def _in_words(error: NotMediaError, file: BinaryIO) -> str:
    """Return what a file is not, and what it is instead, if the error does not say it already."""
    expected, found = str(error), what_it_is(file)
    if found is None or "(" in expected or found.removeprefix("it is ") in expected:
        return expected
    return f"{expected} ({found})"


def violations(facts: MediaFacts, limits: MediaLimits) -> Iterator[str]:
    """Yield each limit that a file breaks, as the end of a sentence that begins with the file's name."""
    if isinstance(facts, ImageFacts) and isinstance(limits, ImageLimits):
        yield from _image_violations(facts, limits)
    elif isinstance(facts, AudioFacts) and isinstance(limits, AudioLimits):
        if limits.formats and facts.format not in limits.formats:
            yield f"is {facts.format}; {_alternatives(limits.formats)} is allowed"
        yield from _duration_violations(facts.duration_s, limits.shortest_s, limits.longest_s)
    elif isinstance(facts, ClipFacts) and isinstance(limits, ClipLimits):
        yield from _duration_violations(facts.duration_s, limits.shortest_s, limits.longest_s)
        if facts.width and facts.height:
            yield from _side_violations(facts.width, facts.height, limits.shortest_side_px, limits.longest_side_px)
            yield from _ratio_violations(facts.width, facts.height, limits.widest_ratio)
    yield from _size_violations(facts.bytes, limits)


def _size_violations(size: int, limits: MediaLimits) -> Iterator[str]:
    if limits.largest_bytes is not None and size > limits.largest_bytes:
        yield f"has {too_large(size, limits.largest_bytes)} are allowed"


def too_large(size: int, largest: int) -> str:
    """Return "20.001 MB; at most 20 MB": two sizes in bytes, in so many digits that the first is seen to be larger."""
    digits = next((digits for digits in range(1, 6) if round(size / MB, digits) > largest / MB), 6)
    return f"{size / MB:.{digits}f} MB; at most {largest / MB:g} MB"


def _image_violations(facts: ImageFacts, limits: ImageLimits) -> Iterator[str]:
    if facts.format not in limits.formats:
        yield f"is {facts.format}; {_alternatives(limits.formats)} is allowed"
    yield from _side_violations(facts.width, facts.height, limits.shortest_side_px, limits.longest_side_px)
    yield from _ratio_violations(facts.width, facts.height, limits.widest_ratio)
    if facts.format == "PNG" and facts.has_alpha and not limits.png_alpha:
        yield "is a PNG with transparency (an alpha channel); only one without is allowed"


def _side_violations(width: int, height: int, shortest: int | None, longest: int | None) -> Iterator[str]:
    too_short = shortest is not None and min(width, height) < shortest
    too_long = longest is not None and max(width, height) > longest
    if too_short or too_long:
        yield f"is {width}x{height} px; {_allowed_range(shortest, longest)} px a side are allowed"


def _ratio_violations(width: int, height: int, widest: float | None) -> Iterator[str]:
    shorter, longer = sorted((width, height))
    if widest is not None and longer > widest * shorter:
        yield f"is {width}x{height} px, so 1:{longer / max(shorter, 1):.1f}; at most 1:{widest:g} is allowed"


def _duration_violations(duration_s: float | None, shortest: float | None, longest: float | None) -> Iterator[str]:
    if duration_s is None:
        return
    too_short = shortest is not None and duration_s < shortest - DURATION_TOLERANCE_S
    too_long = longest is not None and duration_s > longest + DURATION_TOLERANCE_S
    if too_short or too_long:
        yield f"lasts {duration_s:.2f} s; {_allowed_range(shortest, longest)} s are allowed"


def _allowed_range(least: float | None, most: float | None) -> str:
    if least is None:
        return f"at most {most:g}"
    return f"at least {least:g}" if most is None else f"{least:g} to {most:g}"


def _alternatives(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
