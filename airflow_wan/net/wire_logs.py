"""Keeps secrets out of what the HTTP libraries log: they write headers, redirects and signatures down at DEBUG."""

from __future__ import annotations

import logging
import re

from airflow_wan.redaction import KeyMask, redact

WIRE_LOGGERS = (
    "aiobotocore.endpoint",
    "aiobotocore.httpsession",
    "aiobotocore.utils",
    "botocore.auth",
    "botocore.awsrequest",
    "botocore.endpoint",
    "botocore.handlers",
    "botocore.hooks",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.retryhandler",
    "botocore.utils",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpx",
    "oss2",
    "oss2.api",
    "oss2.auth",
    "oss2.http",
    "ossfs",
    "s3fs",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
"""The loggers that see requests and answers. A filter counts only for the logger that has it, not for those below."""

# What is signed and the signature, in lines of their own.
_SIGNERS = frozenset({"botocore.auth", "oss2.auth"})

_AUTHORIZATION = re.compile(r"(authorization['\"]?\s*[:=,]\s*)(?:b?'[^']*'?|b?\"[^\"]*\"?|[^\n]*)", re.IGNORECASE)
_SIGNATURE = re.compile(
    r"((?:signature|credential|security-token|accesskeyid|cookie)['\"]?\s*[:=,]\s*b?['\"]?|\bAWS )[^\s'\"&,]+",
    re.IGNORECASE,
)


class _NoSecrets(logging.Filter):
    """Redacts records, and drops those of signers."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: dict[str, KeyMask] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in _SIGNERS and record.levelno < logging.INFO:
            return False
        message = record.getMessage()
        if record.exc_info and (error := record.exc_info[1]):
            message += f" ({type(error).__name__}: {error})"
        for mask in self.masks.values():
            message = mask.hide(message)
        message = _SIGNATURE.sub(r"\1…", _AUTHORIZATION.sub(r"\1…", message))
        record.msg, record.args = redact(message), ()
        record.exc_info = record.exc_text = None
        return True


_no_secrets = _NoSecrets()


def redact_wire_logs(*secrets: str) -> None:
    """Keep secrets out of the logs of the HTTP libraries of this process, from now on.

    :param secrets: keys that an answer may echo.
    """
    new = [secret for secret in secrets if secret not in _no_secrets.masks]
    _no_secrets.masks = {**_no_secrets.masks, **{secret: KeyMask(secret) for secret in new}}
    for name in WIRE_LOGGERS:
        logging.getLogger(name).addFilter(_no_secrets)
