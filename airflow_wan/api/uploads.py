"""Uploads a file to DashScope's temporary store, where tasks of one model can read it for 48 h by an ``oss://`` URL.

Source: Alibaba Cloud Model Studio, "upload a file and get a temporary URL". Uploads cost nothing. An upload policy, by
which the gateway permits one upload, is a credential: it is used once, immediately, and never shown.
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

from airflow_wan.api.answers import text_of
from airflow_wan.api.failures import submit_error
from airflow_wan.api.rules import MB
from airflow_wan.exceptions import GatewayUnavailable, RequestRejected, SubmitAmbiguous, WanError
from airflow_wan.net.addresses import is_loopback
from airflow_wan.net.host_answers import oss_error_code

if TYPE_CHECKING:
    import ssl

    from airflow_wan.api.answers import Answer
    from airflow_wan.api.gateways import Account

_FIELDS = ("policy", "signature", "upload_dir", "upload_host", "oss_access_key_id", "x_oss_object_acl")

# Refusals that another try, with a new policy, may not get: an expired policy, a slow upload, too many uploads.
_MAY_PASS = frozenset({403, 408, 429})

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """The permission to upload one file.

    :param host: the URL to upload it to.
    :param folder: the folder of the store to put it in.
    :param fields: the other fields of the upload form.
    :param largest_bytes: greatest size of the file, in bytes, if the gateway states it.
    """

    host: str
    folder: str
    fields: Mapping[str, str] = field(repr=False)
    largest_bytes: int | None


def read_policy(answer: Answer, account: Account) -> UploadPolicy:
    """Return the upload policy from the gateway's answer.

    :param answer: the answer.
    :param account: the account that asked for the policy.
    :raises WanError: of the class that the answer means, when the gateway granted no policy.
    """
    # The documentation says `data`; the `dashscope` SDK reads `output`.
    granted = answer.body.get("data") or answer.body.get("output")
    if not answer.ok or not isinstance(granted, Mapping):
        raise _policy_error(answer)
    told = {name: text_of(granted.get(name)) for name in _FIELDS}
    missing = [name for name, value in told.items() if value is None]
    if missing:
        raise GatewayUnavailable(f"The upload policy from {account.gateway.title} has no {' and no '.join(missing)}.")
    host = str(told["upload_host"])
    if not _is_safe(host, account):
        raise GatewayUnavailable(
            f"The upload_host that {account.gateway.title} gave is not a plain https:// URL; no file was sent to it."
        )
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
    """Return whether a policy and a file may be sent to a host: by https, or by http on this machine.

    Its URL must have no password and no query: httpx would log them.
    """
    try:
        parts = urlsplit(host)
    except ValueError:
        return False
    if "@" in parts.netloc or parts.query:
        return False
    is_emulator = parts.scheme == "http" and account.on_loopback and is_loopback(parts.hostname)
    return is_emulator or (parts.scheme == "https" and bool(parts.hostname))


def send_file(
    policy: UploadPolicy, file: BinaryIO, *, name: str, size: int, account: Account, tls: ssl.SSLContext
) -> str:
    """Upload a file and return its ``oss://`` URL.

    The file gets a new unique name: all uploads of an account share a folder, in which no file may be overwritten.

    :param policy: a new policy.
    :param file: the file, at its beginning; it is read while it is sent.
    :param name: its name, of which only the suffix is used.
    :param size: its size, in bytes.
    :param account: the account, for its timeouts.
    :param tls: the TLS context.
    :raises RequestRejected: when the store does not accept this file.
    :raises GatewayUnavailable: when the upload failed for now.
    """
    if policy.largest_bytes is not None and size > policy.largest_bytes:
        raise RequestRejected(
            f"The file has {size / MB:.1f} MB; {account.gateway.title} accepts uploads of at most "
            f"{policy.largest_bytes / MB:g} MB."
        )
    suffix = _SUFFIX.search(name)
    key = f"{policy.folder}/{uuid.uuid4().hex}{suffix[0].lower() if suffix else ''}"
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    fields = {**policy.fields, "key": key, "success_action_status": "200", "x-oss-content-type": kind}
    try:
        # A client of its own: the account's would send its Authorization header to the file store.
        with httpx.Client(
            verify=tls, timeout=httpx.Timeout(account.read_timeout, connect=account.connect_timeout)
        ) as http:
            # httpx sends a form's fields before its files, as the store requires.
            response = http.post(policy.host, data=fields, files={"file": (key.rpartition("/")[2], file, kind)})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Only the type: the text of an httpx error may contain a URL.
        raise GatewayUnavailable(f"The upload to the file store failed ({type(error).__name__}).") from None
    if not response.is_success:
        raise _store_error(response)
    return f"oss://{key}"


def _policy_error(answer: Answer) -> WanError:
    """Return the error for an answer without a policy; it is never ambiguous, since a policy costs nothing."""
    error = submit_error(answer)
    if not isinstance(error, SubmitAmbiguous):
        return error
    return GatewayUnavailable(
        error.message, code=error.code, request_id=error.request_id, http_status=error.http_status
    )


def _store_error(response: httpx.Response) -> WanError:
    """Return the error for a refusal of the store, with its code and nothing else of its answer."""
    status = response.status_code
    kind = GatewayUnavailable if status in _MAY_PASS or status >= 500 else RequestRejected  # noqa: PLR2004
    return kind(
        f"The file store answered the upload with HTTP {status}.",
        code=oss_error_code(response.content[:4096]),
        http_status=status,
    )
