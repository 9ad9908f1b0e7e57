"""What the doctor can find, how bad each finding is, and what to do about it. docs/doctor.md has the same table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_wan.redaction import redact_beginning

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Finding", "Kind", "Severity", "has_problem"]

_MAX_TITLE_CHARS = 700
"""Longest title, in characters: it may quote a gateway."""


class Severity(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    """It is as it should be."""
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    WARNING = "warning"
    """Videos can be bought, but something is likely not as it was meant."""
    PROBLEM = "problem"
    """No video can be bought with the connection as it is."""


class Kind(StrEnum):
    """What can be found."""

    # What the connection says
    NOT_DEFINED = "not_defined"
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
    # The way to the host
    UNFIT_PROXY = "unfit_proxy"
    PROXY_FAILS = "proxy_fails"
    PROXY_IN_THE_WAY = "proxy_in_the_way"
    UNKNOWN_NAME = "unknown_name"
    REFUSED = "refused"
    TOO_LATE = "too_late"
    BROKEN_OFF = "broken_off"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_OTHER_NAME = "tls_other_name"
    TLS_DATES = "tls_dates"
    TLS_FAILS = "tls_fails"
    NO_TLS = "no_tls"
    TLS_WANTED = "tls_wanted"
    # What answers
    NO_GATEWAY = "no_gateway"
    OTHER_GATEWAY = "other_gateway"
    OUTAGE = "outage"
    THROTTLED = "throttled"
    CLOCK_SKEW = "clock_skew"
    # The key and its account
    WRONG_KEY = "wrong_key"
    WRONG_REGION = "wrong_region"
    WRONG_WORKSPACE = "wrong_workspace"
    WRONG_GROUP = "wrong_group"
    FREE_QUOTA_USED_UP = "free_quota_used_up"
    NO_BALANCE = "no_balance"
    SYSTEM_TOKEN_REFUSED = "system_token_refused"  # noqa: S105 - a name, not a token
    LIMITS = "limits"
    BALANCE = "balance"
    NOT_SEEN = "not_seen"
    GOOD = "good"


_MEANING: dict[Kind, tuple[Severity, str]] = {
    Kind.NOT_DEFINED: (
        Severity.PROBLEM,
        "Define the connection under Admin > Connections, or in the environment, or name another one.",
    ),
    Kind.OTHER_TYPE: (Severity.PROBLEM, "Set the connection's type to Wan, or name another connection."),
    Kind.NO_KEY: (Severity.PROBLEM, "Set the API key, which is the field password of an Airflow connection."),
    Kind.UNFIT_KEY: (Severity.PROBLEM, "Copy the API key again, without what stands around it."),
    Kind.HOST_TO_FILL_IN: (
        Severity.PROBLEM,
        "Write your own workspace id in place of the name; the console shows the host with the id in it.",
    ),
    Kind.HOST_WITH_SECRET: (
        Severity.PROBLEM,
        ("Remove from the host what stands before an @ or behind a question mark; the key has a field of its own."),
    ),
    Kind.HOST_FOR_PEOPLE: (
        Severity.PROBLEM,
        (
            "Set the host to the base URL of the API, such as https://api.apiyi.com or "
            "https://dashscope-intl.aliyuncs.com."
        ),
    ),
    Kind.HOST_UNREADABLE: (Severity.PROBLEM, "Write the host as a URL, such as https://api.apiyi.com."),
    Kind.UNFIT_EXTRA: (Severity.PROBLEM, "Correct the field in the connection's extra, or remove it."),
    Kind.UNKNOWN_EXTRA: (Severity.WARNING, "Correct the name of the field, or remove it."),
    Kind.NOT_ENCRYPTED: (Severity.WARNING, "Write https:// in the host, unless nobody else can see that network."),
    Kind.UNFIT_PROXY: (
        Severity.PROBLEM,
        "Name a proxy that begins with http:// in HTTPS_PROXY, or the host in NO_PROXY.",
    ),
    Kind.PROXY_FAILS: (
        Severity.PROBLEM,
        (
            "Correct the proxy, its user and its password in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name the "
            "host in NO_PROXY."
        ),
    ),
    Kind.PROXY_IN_THE_WAY: (
        Severity.PROBLEM,
        (
            "Ask who runs the network to let this machine reach the host, or log in where the network asks for "
            "it; the key may be right."
        ),
    ),
    Kind.UNKNOWN_NAME: (Severity.PROBLEM, "Check the spelling of the host, and this machine's name resolution (DNS)."),
    Kind.REFUSED: (Severity.PROBLEM, "Check the host's name and port, and that a server runs there."),
    Kind.TOO_LATE: (
        Severity.PROBLEM,
        ("Check whether a firewall keeps this machine from the host, or whether it needs a proxy (HTTPS_PROXY)."),
    ),
    Kind.BROKEN_OFF: (
        Severity.PROBLEM,
        "Examine again; if it stays, something between this machine and the host ends the connection.",
    ),
    Kind.TLS_UNTRUSTED: (
        Severity.PROBLEM,
        (
            "If your network or your own gateway has a certificate authority of its own, name its file in "
            "SSL_CERT_FILE; else do not use this host."
        ),
    ),
    Kind.TLS_OTHER_NAME: (
        Severity.PROBLEM,
        (
            "Write the host as its certificate names it, by name and not by address; if it is right, something "
            "answers in its place."
        ),
    ),
    Kind.TLS_DATES: (
        Severity.PROBLEM,
        "Check this machine's clock; if it is right, the host must renew its certificate.",
    ),
    Kind.TLS_FAILS: (Severity.PROBLEM, "Check the host's name and port; something between may also cut TLS off."),
    Kind.NO_TLS: (
        Severity.PROBLEM,
        "Check the port, or write http:// if this is an emulator or a gateway of your own.",
    ),
    Kind.TLS_WANTED: (Severity.PROBLEM, "Write https:// in place of http:// in the host."),
    Kind.NO_GATEWAY: (
        Severity.PROBLEM,
        "Set the host to the gateway's own, such as https://api.apiyi.com or https://dashscope-intl.aliyuncs.com.",
    ),
    Kind.OTHER_GATEWAY: (Severity.PROBLEM, "Set the extra gateway to the name of the gateway that answers."),
    Kind.OUTAGE: (Severity.PROBLEM, "Examine again later; nothing is wrong with the connection as far as can be seen."),
    Kind.THROTTLED: (Severity.PROBLEM, "Examine again in a minute; others use the same account now."),
    Kind.CLOCK_SKEW: (
        Severity.WARNING,
        "Set this machine's clock (NTP): certificates, signed URLs and the search for a lost task go by it.",
    ),
    Kind.WRONG_KEY: (
        Severity.PROBLEM,
        (
            "Copy the key again from the console of this gateway and region: keys of another region or gateway "
            "are refused in the same words."
        ),
    ),
    Kind.WRONG_REGION: (
        Severity.PROBLEM,
        "Set the host to that of the key's region, or use a key of the host's region.",
    ),
    Kind.WRONG_WORKSPACE: (
        Severity.PROBLEM,
        "Set the host, or the extra workspace, to the workspace that the key was made in.",
    ),
    Kind.WRONG_GROUP: (
        Severity.WARNING,
        "In APIYI's console, put the token into the group Wan&HappyHorse with pay-as-you-go billing.",
    ),
    Kind.FREE_QUOTA_USED_UP: (
        Severity.PROBLEM,
        "Switch off the use of the free quota alone in Alibaba's console, which makes the model cost money.",
    ),
    Kind.NO_BALANCE: (Severity.PROBLEM, "Top up the account, or pay its bill, at the gateway."),
    Kind.SYSTEM_TOKEN_REFUSED: (
        Severity.WARNING,
        "Make a new system access token in APIYI's console, or remove system_token from the extra.",
    ),
    Kind.LIMITS: (
        Severity.NOTE,
        (
            "Set [wan] creates_per_second to the creates, and a pool that includes deferred tasks to the tasks at "
            "a time."
        ),
    ),
    Kind.BALANCE: (Severity.NOTE, "Top up before it is used up: a create request is refused then."),
    Kind.NOT_SEEN: (
        Severity.NOTE,
        "A create request that is refused for one of these costs nothing, and its error names the reason.",
    ),
    Kind.GOOD: (Severity.GOOD, "Nothing has to be done."),
}

_WORST_FIRST = (Severity.PROBLEM, Severity.WARNING, Severity.GOOD, Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    :param kind: what it is.
    :param title: what was found, in one or two sentences, with the facts; without secrets.
    """

    kind: Kind
    title: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", redact_beginning(self.title, _MAX_TITLE_CHARS))

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return _MEANING[self.kind][0]

    @property
    def advice(self) -> str:
        """What to do, in one sentence."""
        return _MEANING[self.kind][1]


def has_problem(findings: Iterable[Finding]) -> bool:
    """Return whether no video can be bought with the connection as it is."""
    return any(finding.severity is Severity.PROBLEM for finding in findings)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings by severity; those of one severity stay in their order."""
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.severity))
