"""DashScope's temporary store: it gives policies, accepts forms with a file, and keeps each file for 48 hours.

Alibaba docs, "upload a file and get a temporary URL". The store answers as OSS answers a PostObject request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from airflow_wan.emulator.bodies import BodyTooLargeError
from airflow_wan.emulator.results import xml_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from airflow_wan.emulator.clock import Clock
    from airflow_wan.emulator.tasks import Caller

_MB = 1024 * 1024
_FILE_TTL_S = 48 * 60 * 60.0
# Undocumented; long enough for an upload.
_POLICY_TTL_S = 300.0
# Documented is 1 GB; the emulator keeps the files in memory, and no model accepts more than 100 MB.
_LARGEST_FILE_MB = 100
LARGEST_FORM_BYTES = (_LARGEST_FILE_MB + 1) * _MB
"""Maximum size of an upload form; its other fields take far less than 1 MB."""
# The limit for all files together; beyond it, the oldest files are removed.
_KEPT_BYTES = 256 * _MB
_FORM = {"x-oss-object-acl": "private", "x-oss-forbid-overwrite": "true"}


@dataclass(frozen=True)
class _Grant:
    """A policy that was given to a caller."""

    policy: str
    signature: str
    access_key_id: str
    folder: str
    caller: Caller
    model: str
    expires_at: float


@dataclass(frozen=True)
class _File:
    content: bytes
    caller: Caller
    model: str
    expires_at: float


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = xml_error(status, code, message, uuid.uuid4().hex.upper()[:24])
        self.response.headers.update(headers or {})


class UploadStore:
    """The policies and files of one emulator."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._grants: dict[str, _Grant] = {}
        self._files: OrderedDict[str, _File] = OrderedDict()

    def grant(self, caller: Caller, model: str, host: str) -> dict[str, Any]:
        """Return the `data` of a getPolicy answer; each has its own folder, below one of caller, model and date."""
        now = self._clock.now()
        owner = hashlib.sha256(f"{caller.digest}/{model}".encode()).hexdigest()[:32]
        folder = f"dashscope-instant/{owner}/{datetime.fromtimestamp(now, UTC):%Y-%m-%d}/{uuid.uuid4()}"
        conditions = [
            ["content-length-range", 0, _LARGEST_FILE_MB * _MB],
            ["starts-with", "$key", folder],
            *({name: value} for name, value in _FORM.items()),
        ]
        expires_at = now + _POLICY_TTL_S
        text = json.dumps(
            {"expiration": f"{datetime.fromtimestamp(expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}", "conditions": conditions}
        )
        policy = base64.b64encode(text.encode()).decode()
        signature = base64.b64encode(hmac.new(self._secret, policy.encode(), hashlib.sha1).digest()).decode()
        access_key_id = f"LTAI{secrets.token_hex(8)}"
        self._grants[access_key_id] = _Grant(policy, signature, access_key_id, folder, caller, model, expires_at)
        return {
            "policy": policy,
            "signature": signature,
            "upload_dir": folder,
            "upload_host": host,
            "expire_in_seconds": int(_POLICY_TTL_S),
            "max_file_size_mb": _LARGEST_FILE_MB,
            "capacity_limit_mb": 999999999,
            "oss_access_key_id": access_key_id,
            "x_oss_object_acl": _FORM["x-oss-object-acl"],
            "x_oss_forbid_overwrite": _FORM["x-oss-forbid-overwrite"],
        }

    async def receive(self, request: Request) -> Response:
        """Answer an upload form."""
        try:
            async with request.form(max_files=1) as form:
                fields = self._checked(request, form.multi_items())
                grant = self._granted(fields)
                key = self._key(fields, grant)
                self._keep(key, await _content(form["file"]), grant)
        except BodyTooLargeError as error:
            return _too_large(error.headers).response
        except (
            HTTPException,
            ValueError,
        ) as error:  # Starlette's own, and its parser's, for a form that cannot be read
            return _RefusedError(400, "MalformedPOSTRequest", getattr(error, "detail", str(error))).response
        except _RefusedError as error:
            return error.response
        return Response(status_code=200 if fields.get("success_action_status") == "200" else 204)

    def content(self, url: str, caller: Caller, model: str) -> bytes | None:
        """Return the file of an `oss://` URL, or None if there is none for this caller and model."""
        file = self._files.get(url.removeprefix("oss://"))
        if file is None or file.caller != caller or file.model != model or self._clock.now() >= file.expires_at:
            return None
        return file.content

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each file, oldest first."""
        return [
            {"url": f"oss://{key}", "model": file.model, "bytes": len(file.content), "key_last4": file.caller.last4}
            for key, file in list(
                self._files.items()
            )  # a copy, because a test's thread may call this while a file arrives
        ]

    def clear(self) -> None:
        """Remove every policy and file."""
        self._grants.clear()
        self._files.clear()

    def _checked(self, request: Request, items: list[tuple[str, UploadFile | str]]) -> dict[str, str]:
        if "authorization" in request.headers:
            # As for downloads: the store does not accept the gateway's API key.
            raise _RefusedError(403, "SignatureDoesNotMatch", "The request signature does not match.")
        if not items or items[-1][0] != "file" or not isinstance(items[-1][1], UploadFile):
            raise _RefusedError(400, "InvalidArgument", "The file must be the last field of the form.")
        return {name: value for name, value in items if isinstance(value, str)}

    def _granted(self, fields: Mapping[str, str]) -> _Grant:
        grant = self._grants.get(fields.get("OSSAccessKeyId", ""))
        if grant is None:
            raise _RefusedError(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist.")
        if fields.get("policy") != grant.policy or fields.get("Signature") != grant.signature:
            raise _RefusedError(403, "SignatureDoesNotMatch", "The request signature does not match.")
        if self._clock.now() >= grant.expires_at:
            raise _RefusedError(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
        return grant

    def _key(self, fields: Mapping[str, str], grant: _Grant) -> str:
        key = fields.get("key", "")
        wrong = [name for name, value in _FORM.items() if fields.get(name) != value]
        if not key.removeprefix(f"{grant.folder}/") or not key.startswith(f"{grant.folder}/"):
            wrong.append("key")
        if wrong:
            sentence = f"Invalid according to Policy: Policy Condition failed: {', '.join(wrong)}"
            raise _RefusedError(403, "AccessDenied", sentence)
        if key in self._files:
            raise _RefusedError(409, "FileAlreadyExists", "The object you specified already exists.")
        return key

    def _keep(self, key: str, content: bytes, grant: _Grant) -> None:
        self._files[key] = _File(content, grant.caller, grant.model, self._clock.now() + _FILE_TTL_S)
        while sum(len(file.content) for file in self._files.values()) > _KEPT_BYTES:
            self._files.popitem(last=False)


async def _content(file: UploadFile | str) -> bytes:
    assert isinstance(file, UploadFile)  # noqa: S101  # the last field of a checked form
    if (file.size or 0) > _LARGEST_FILE_MB * _MB:
        raise _too_large()
    return await file.read()


def _too_large(headers: Mapping[str, str] | None = None) -> _RefusedError:
    return _RefusedError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.", headers)
