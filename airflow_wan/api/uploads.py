"""DashScope's temporary store: a file goes up with a policy for one model and stands under an ``oss://`` URL for 48 h.

Source: Alibaba Cloud Model Studio, "upload a file and get a temporary URL". Nothing in here costs money. A policy is a
credential: it is used once, at once, and shown nowhere.
"""

from __future__ import annotations

import mimetypes
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import httpx

from airflow_wan.api.failures import classify_submit, read_failed_answer, text_of
from airflow_wan.exceptions import GatewayUnavailable, RequestRejected, SubmitAmbiguous, WanError
from airflow_wan.net.addresses import is_loopback
from airflow_wan.net.host_answers import oss_error_code

if TYPE_CHECKING:
    import ssl

    from airflow_wan.api.gateways import Account
    from airflow_wan.api.tasks import Answer

MB = 1024 * 1024

_FIELDS = ("policy", "signature", "upload_dir", "upload_host", "oss_access_key_id", "x_oss_object_acl")

# What a fresh policy may mend, or a later try: an expired policy, a slow upload, too many at a time.
_PASSING = frozenset({403, 408, 429})

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """Leave to upload one file.

    :param host: where it goes.
    :param folder: where in the store it stands.
    :param fields: what the form says besides.
    :param largest_bytes: size of the file, at most, where the gateway says.
    """

    host: str
    folder: str
    fields: Mapping[str, str] = field(repr=False)
    largest_bytes: int | None


def read_policy(answer: Answer, account: Account) -> UploadPolicy:
    """The policy in the gateway's answer.

    :raises WanError: by the gateway's code, when it gave none.
    """
    # The documentation says `data`; the `dashscope` SDK reads `output`.
    granted = answer.body.get("data") or answer.body.get("output")
    if not answer.ok or not isinstance(granted, Mapping):
        raise _refusal(answer)
    told = {name: text_of(granted.get(name)) for name in _FIELDS}
    missing = [name for name, value in told.items() if value is None]
    if missing:
        raise GatewayUnavailable(f"The upload policy of {account.gateway.title} has no {' and no '.join(missing)}.")
    host = str(told["upload_host"])
    if not _is_safe(host, account):
        raise GatewayUnavailable(f"{account.gateway.title} wants the file uploaded to what is no plain https address.")
    most = text_of(granted.get("max_file_size_mb"))
    return UploadPolicy(
        host=host,
        folder=str(told["upload_dir"]).strip("/"),
        fields={
            "OSSAccessKeyId": str(told["oss_access_key_id"]),
            "Signature": str(told["signature"]),
            "policy": str(told["policy"]),
            "x-oss-object-acl": str(told["x_oss_object_acl"]),
            "x-oss-forbid-overwrite": str(granted.get("x_oss_forbid_overwrite", "true")).lower(),
        },
        largest_bytes=int(float(most) * MB) if most and most.replace(".", "", 1).isdecimal() else None,
    )


def _is_safe(host: str, account: Account) -> bool:
    """Whether a policy and a file may go to a host: in the clear on this machine alone.

    Nor may its URL hold a password or a query: httpx would log them.
    """
    try:
        parts = urlsplit(host)
    except ValueError:
        return False
    if "@" in parts.netloc or parts.query:
        return False
    in_the_clear = parts.scheme == "http" and account.on_loopback and is_loopback(parts.hostname)
    return in_the_clear or (parts.scheme == "https" and bool(parts.hostname))


def send_file(
    policy: UploadPolicy, file: BinaryIO, *, name: str, size: int, account: Account, tls: ssl.SSLContext
) -> str:
    """Upload a file, piece by piece, and return its ``oss://`` URL.

    The folder is shared by all uploads of an account and nothing in it may be overwritten, so the name is a new one.

    :param policy: a fresh policy.
    :param file: the file, at its beginning.
    :param name: what it is called where it comes from; only its suffix is kept.
    :param size: its size, bytes.
    :param account: whose timeouts to use.
    :param tls: the TLS context to use.
    :raises RequestRejected: when the store will not have this file.
    :raises GatewayUnavailable: when it did not go through for now.
    """
    if policy.largest_bytes is not None and size > policy.largest_bytes:
        raise RequestRejected(
            f"The file has {size / MB:.1f} MB; an upload may have {policy.largest_bytes / MB:g} MB at most."
        )
    suffix = _SUFFIX.search(name)
    key = f"{policy.folder}/{uuid.uuid4().hex}{suffix[0].lower() if suffix else ''}"
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    fields = {**policy.fields, "key": key, "success_action_status": "200", "x-oss-content-type": kind}
    try:
        # Not the client of the account: its Authorization header is not for the file store.
        with httpx.Client(
            verify=tls, timeout=httpx.Timeout(account.read_timeout, connect=account.connect_timeout)
        ) as http:
            # The form's fields go out before its files, as the store requires.
            response = http.post(policy.host, data=fields, files={"file": (key.rpartition("/")[2], file, kind)})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The text of an httpx error may hold a URL: its type says enough.
        raise GatewayUnavailable(f"The upload to the file store broke off ({type(error).__name__}).") from None
    if not response.is_success:
        raise _store_refusal(response)
    return f"oss://{key}"


def _refusal(answer: Answer) -> WanError:
    """Which error it is when no policy was given: a question that costs nothing is never ambiguous."""
    error = classify_submit(read_failed_answer(answer.http_status, answer.headers, answer.payload, answer.text))
    if not isinstance(error, SubmitAmbiguous):
        return error
    return GatewayUnavailable(
        error.message, code=error.code, request_id=error.request_id, http_status=error.http_status
    )


def _store_refusal(response: httpx.Response) -> WanError:
    """What a refusal of the store means; of its answer, the code alone is told."""
    status = response.status_code
    kind = GatewayUnavailable if status in _PASSING or status >= 500 else RequestRejected  # noqa: PLR2004
    return kind(
        f"The file store answered the upload with HTTP {status}.",
        code=oss_error_code(response.content[:4096]),
        http_status=status,
    )
