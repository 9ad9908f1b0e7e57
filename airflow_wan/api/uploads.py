"""Uploads a file to DashScope's temporary store, where tasks of one model can read it for 48 h by an ``oss://`` URL.

Source: Alibaba Cloud Model Studio, "upload a file and get a temporary URL". Uploads cost nothing. An upload policy, by
which the gateway permits one upload, is a credential: it is used once, immediately, and never shown. The gateway names
the store in it, so the file goes there through the client that knows which hosts may be contacted.
"""

from __future__ import annotations

import contextlib
import itertools
import mimetypes
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from airflow_wan.api.answers import text_of
from airflow_wan.api.failures import submit_error
from airflow_wan.api.rules import MB
from airflow_wan.exceptions import (
    GatewayUnavailable,
    MediaUnreadable,
    RequestRejected,
    SubmitAmbiguous,
    TransferFailed,
    TransferInterrupted,
    WanError,
)
from airflow_wan.net.file_client import FileClient, read_beginning
from airflow_wan.net.host_answers import oss_error_code

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Iterator

    from airflow_wan.api.answers import Answer
    from airflow_wan.api.gateways import Account

_FIELDS = ("policy", "signature", "upload_dir", "upload_host", "oss_access_key_id", "x_oss_object_acl")

# Refusals that another try, with a new policy, may not get: an expired policy, a slow upload, too many uploads.
_MAY_PASS = frozenset({403, 408, 429})

_MOST_MB = 1e6  # more than any store takes, and less than a float can be
_READ_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 4096

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
    policy = _read_granted(answer.body.get("data") or answer.body.get("output")) if answer.ok else None
    if policy is None:
        raise _policy_error(answer)
    if isinstance(policy, UploadPolicy):
        return policy
    raise GatewayUnavailable(f"The upload policy from {account.gateway.title} cannot be used: {policy}.")


def _read_granted(granted: object) -> UploadPolicy | str | None:
    """Return the policy, or what is wrong with it; None if nothing was granted.

    Nothing is raised here, for an error report may show what the gateway granted.
    """
    if not isinstance(granted, Mapping):
        return None
    told = {name: text_of(granted.get(name)) for name in _FIELDS}
    missing = [name for name, value in told.items() if value is None]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    host = str(told["upload_host"])
    if not _is_plain(host):
        return "its upload_host is not a plain https:// URL; no file was sent to it"
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
        largest_bytes=int(min(float(most), _MOST_MB) * MB) if most and most.replace(".", "", 1).isdecimal() else None,
    )


def _is_plain(host: str) -> bool:
    """Return whether a URL has a host and a path, and neither a password nor anything behind the path."""
    try:
        parts = urlsplit(host)
    except ValueError:
        return False
    is_printable = host.isascii() and host.isprintable() and " " not in host
    return is_printable and bool(parts.hostname) and "@" not in parts.netloc and not (parts.query or parts.fragment)


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
    before, after, form_type = _form(fields, key.rpartition("/")[2], kind)
    del fields  # an error report may show the variables of a function, and these sign the upload
    client = FileClient(
        tls,
        private_allowed=account.on_private_network,
        connect_timeout_s=account.connect_timeout,
        read_timeout_s=account.read_timeout,
        total_s=account.total_timeout,
        least_speed=account.least_speed,
    )
    body = itertools.chain([before], _pieces(file, size), [after])
    try:
        # No header of the account's goes along: the key is for the gateway alone.
        with client.post(policy.host, {"Content-Type": form_type}, body, len(before) + size + len(after)) as response:
            if response.status not in range(200, 300):
                raise _store_error(response)
    except TransferInterrupted as error:
        raise GatewayUnavailable(f"The upload to the file store failed. {error.message}") from None
    except TransferFailed as error:
        raise GatewayUnavailable(
            f"The upload_host that {account.gateway.title} gave cannot be used; no file was sent to it. {error.message}"
        ) from None
    return f"oss://{key}"


def _form(fields: Mapping[str, str], name: str, kind: str) -> tuple[bytes, bytes, str]:
    """Return what comes before the file in a form, what comes after it, and the form's content type (RFC 7578).

    The store requires that the file is the last field.

    :param fields: the other fields.
    :param name: the name of the file.
    :param kind: the media type of the file.
    """
    boundary = uuid.uuid4().hex
    parts = [f'Content-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()]
    parts.append(f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n')
    before = "".join(f"--{boundary}\r\n{part}" for part in parts).encode(errors="replace")
    return before, f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the content of a file, of exactly the size that was announced.

    :raises MediaUnreadable: when the file cannot be read, or has become shorter.
    """
    left = size
    while left:
        try:
            piece = file.read(min(left, _READ_BYTES))
        except OSError as error:
            raise MediaUnreadable(
                f"The file could not be read while it was uploaded ({type(error).__name__})."
            ) from None
        if not piece:
            raise MediaUnreadable(f"The file became shorter than {size} bytes while it was uploaded.")
        left -= len(piece)
        yield piece


def _policy_error(answer: Answer) -> WanError:
    """Return the error for an answer without a policy; it is never ambiguous, since a policy costs nothing.

    It quotes nothing of an answer that cannot be read: a policy may be in it.
    """
    error = submit_error(replace(answer, text=""))
    if not isinstance(error, SubmitAmbiguous):
        return error
    return GatewayUnavailable(
        error.message, code=error.code, request_id=error.request_id, http_status=error.http_status
    )


def _store_error(response: http.client.HTTPResponse) -> WanError:
    """Return the error for a refusal of the store, with its code and nothing else of its answer."""
    status = response.status
    content = b""
    with contextlib.suppress(TransferInterrupted):
        content = read_beginning(response, _MAX_ANSWER_BYTES)
    is_refused = status in range(400, 500) and status not in _MAY_PASS
    kind = RequestRejected if is_refused else GatewayUnavailable
    return kind(
        f"The file store answered the upload with HTTP {status}.", code=oss_error_code(content), http_status=status
    )
