"""Reads the base URL of a gateway from what people paste: a host name, the URL of a manual, another client's setting.

A text is understood or refused. What is understood leads to the host that was pasted, and keeps the path of a proxy;
only the path of the API itself, which other clients want in a base URL, is left out.
"""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway, gateway_of_host, is_official
from airflow_wan.net.addresses import is_loopback

__all__ = ["Flaw", "UnusableError", "read_base_url"]


class Flaw(StrEnum):
    """What can be wrong with what a connection says, before anything is asked."""

    OTHER_TYPE = "other_type"
    NO_KEY = "no_key"
    UNFIT_KEY = "unfit_key"
    HOST_TO_FILL_IN = "host_to_fill_in"
    HOST_WITH_SECRET = "host_with_secret"  # noqa: S105 - a name, not a secret
    HOST_FOR_PEOPLE = "host_for_people"
    HOST_UNREADABLE = "host_unreadable"
    UNFIT_EXTRA = "unfit_extra"
    UNKNOWN_EXTRA = "unknown_extra"
    NOT_ENCRYPTED = "not_encrypted"


class UnusableError(Exception):
    """The connection cannot be used.

    :param flaw: what is wrong.
    :param problem: the end of a sentence that begins with the connection: ``has no API key``.
    """

    def __init__(self, flaw: Flaw, problem: str) -> None:
        super().__init__(problem)
        self.flaw = flaw
        self.problem = problem


# What stands around a URL in a text or in code, in Chinese texts too.
_AROUND = "\"'`<>(),;。，；、“”‘’《》「」（）"
_ENCODED_URL = re.compile(r"https?%3a", re.IGNORECASE)
_SCHEMES_BEFORE_ANOTHER = re.compile(r"^(?:https?://)+(?=https?://)", re.IGNORECASE)

# A name in braces, as in https://{WorkspaceId}.cn-beijing.maas.aliyuncs.com, or the name itself.
_TO_FILL_IN = re.compile(r"[{}<>$]|%7[bd]|\[[a-z_ -]+\]|(?:^|[/.])(?:your[-_]?)?workspace[-_]?id\.", re.IGNORECASE)

# What the keys of both gateways look like; they were put into the wrong field.
_KEY = re.compile(r"(?:^|/)sk-[\w-]{12,}(?:/|$)")

_ONLY_A_PATH = re.compile(r"/(?!/[^/])")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9a-f:.]+\]|[\w-]{1,63}(?:\.[\w-]{1,63})*\.?)(?::\d{1,5})?")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~%!$&'()*+,;=-]*)*", re.ASCII)
_PORTS = 2**16
_USUAL_PORTS = {"http": 80, "https": 443}
_NO_HOSTS = ("http", "https")
_PAGES_FOR_PEOPLE = re.compile(r"^(?:docs?|help|www\.alibabacloud|bailian)\.|(?:^|\.)console\.")

# Where the path of an API begins, and where one begins that ends or goes on as the APIs do. APIYI's own begin with
# "/wan".
_PREFIX = r"(?P<wan>/wan)?/(?:api/v\d|v1(?:beta)?|compatible-(?:mode|api)(?:/v\d)?|services/aigc)"
_ENDPOINTS = (
    "apps|audio|batches|chat|completions|embeddings|files|images|messages|models|quotas|reranks?|responses|services|tasks|"
    "uploads|videos?"
)
_ONLY_WAN = re.compile(r"(?:/wan)+$")
_ANY_API_PATH = re.compile(rf"{_PREFIX}(?:/.*)?$")
_KNOWN_API_PATH = re.compile(rf"{_PREFIX}(?:/(?:(?:{_ENDPOINTS}|video-generation|image2video)(?:/.*)?)?)?$")


def read_base_url(
    pasted: str, *, scheme: str | None = None, port: int | None = None, gateway: Gateway | None = None
) -> tuple[Gateway, str]:
    """Return the gateway at a base URL that somebody has pasted, and the base URL without a slash at its end.

    :param pasted: the text; an empty one stands for the gateway's usual base URL.
    :param scheme: ``http`` or ``https`` for a text without a scheme. By default https, but http on this machine.
    :param port: the port, if the text names none.
    :param gateway: the gateway; told from the host when None.
    :raises UnusableError: when the text is no base URL.
    """
    url = _read(pasted, scheme)
    if url is None:
        gateway = gateway or APIYI
        url = urlsplit(gateway.default_base_url)
    gateway = gateway or gateway_of_host(url.geturl())
    url = _without_api_path(url, gateway)
    if port and not url.port:
        if not 0 < port < _PORTS:
            raise UnusableError(Flaw.HOST_UNREADABLE, f"has the port {port}; ports are numbers from 1 to {_PORTS - 1}")
        url = url._replace(netloc=f"{url.netloc}:{port}")
    if url.port == _USUAL_PORTS[url.scheme]:  # with and without it, this is one account
        url = url._replace(netloc=url.netloc.rpartition(":")[0])
    return gateway, url.geturl()


def _read(pasted: str, scheme: str | None) -> SplitResult | None:
    """Return the parts of the URL; None for a text without one."""
    text = pasted.strip().strip(_AROUND).strip()
    if _ENCODED_URL.match(text):
        text = unquote(text)
    text = _SCHEMES_BEFORE_ANOTHER.sub("", text)
    if not text.strip("/"):
        return None
    if "@" in text or "?" in text or "#" in text:
        # The base URL is kept with each purchase and each trigger, as plain text.
        raise UnusableError(
            Flaw.HOST_WITH_SECRET, "has a user, a password or a query in its host, where only a URL may be"
        )
    if _KEY.search(text):
        raise UnusableError(Flaw.HOST_WITH_SECRET, "has an API key in its host, where only a URL may be")
    if _TO_FILL_IN.search(text):
        raise UnusableError(
            Flaw.HOST_TO_FILL_IN,
            f"has the host {text!r}, which has a name to fill in, such as the id of your workspace",
        )
    url = text if "://" in text or _ONLY_A_PATH.match(text) else _with_scheme(text.removeprefix("//"), scheme)
    parts = _parts(url)
    if parts is None:
        raise UnusableError(Flaw.HOST_UNREADABLE, f"has the host {url!r}, which is not a URL with a scheme (https://…)")
    if _PAGES_FOR_PEOPLE.search(parts.netloc):
        raise UnusableError(
            Flaw.HOST_FOR_PEOPLE, f"has the host {url!r}, which has pages for people, and is not the gateway's API"
        )
    return parts


def _with_scheme(host: str, scheme: str | None) -> str:
    """Return a host that was written without a scheme as a URL."""
    scheme = (scheme or "").strip().lower()
    if scheme not in ("http", "https"):
        try:
            scheme = "http" if is_loopback(urlsplit(f"//{host}").hostname) else "https"
        except ValueError:
            scheme = "https"
    return f"{scheme}://{host}"


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL that is nothing but a scheme, a host, a port and a path; None for any other."""
    if not url.isprintable() or " " in url or "\\" in url:  # `urlsplit` drops line breaks and tabs
        return None
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and parts.port != 0 and parts.hostname not in (None, *_NO_HOSTS)
    except ValueError:
        return None
    netloc = parts.netloc.lower()
    if not is_fit or not _HOST_AND_PORT.fullmatch(netloc) or not _PATH.fullmatch(parts.path):
        return None
    host, colon, port = netloc.partition(":") if not netloc.startswith("[") else (netloc, "", "")
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    return SplitResult(parts.scheme, host.rstrip(".") + colon + port, path, "", "")


def _without_api_path(url: SplitResult, gateway: Gateway) -> SplitResult:
    """Return a URL without a path of the API. At a gateway's own host, everything after its beginning is one."""
    own = is_official(url.geturl())
    path = url.path
    while found := (_ANY_API_PATH if own else _KNOWN_API_PATH).search(path):  # some paste it twice
        path = path[: found.start()] + ((found["wan"] or "") if gateway is DASHSCOPE else "")
    if own and gateway is APIYI:
        path = _ONLY_WAN.sub("", path)
    return url._replace(path=path.rstrip("/"))
