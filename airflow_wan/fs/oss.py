"""``oss://`` for Airflow's object storage: Alibaba's OSS, through an Airflow connection of type ``oss``.

No other provider registers this scheme. `ossfs` reads and writes objects, but cannot sign URLs or refuse to replace an
object; `oss2`, the SDK that it uses, can. A file is uploaded in one request: in parts, as ossfs uploads larger ones, an
interrupted upload would leave parts behind, which are billed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

schemes = ["oss"]

DEFAULT_CONN_ID = "oss_default"
"""The default of the alibaba provider, whose connections are used here."""


def get_fs(conn_id: str | None, storage_options: Mapping[str, Any] | None = None) -> AbstractFileSystem:
    """Return the file system of an OSS account; Airflow calls this for ``oss://conn_id@bucket/key``.

    :param conn_id: an Airflow connection as the alibaba provider defines it. Its extra holds ``access_key_id``,
        ``access_key_secret``, ``region`` (``cn-beijing``) or ``endpoint``, and optionally ``security_token``.
    :param storage_options: arguments for ``ossfs.OSSFileSystem``.
    :raises ImportError: when ossfs is not installed.
    :raises ValueError: when the connection has neither a region nor an endpoint.
    """
    try:
        import oss2  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, and heavy
        from ossfs import OSSFileSystem  # type: ignore[import-untyped]  # noqa: PLC0415
        from ossfs.exceptions import translate_oss_error  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "oss:// needs the package ossfs, which is not installed: pip install 'airflow-provider-wan[oss]'."
        ) from error

    conn_id = conn_id or DEFAULT_CONN_ID
    extra = BaseHook.get_connection(conn_id).extra_dejson
    key, secret, token = (extra.get(name) for name in ("access_key_id", "access_key_secret", "security_token"))
    region, endpoint = extra.get("region"), extra.get("endpoint")
    if not endpoint and not region:
        raise ValueError(
            f"The Airflow connection {conn_id!r} has neither a region nor an endpoint in its extra; set one of them."
        )
    endpoint = endpoint or f"oss-{region}.aliyuncs.com"
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    auth = oss2.StsAuth(key, secret, token) if token else oss2.Auth(key, secret)

    class SigningFileSystem(OSSFileSystem):  # type: ignore[misc] # untyped
        """ossfs with signed URLs, ETags and uploads that replace nothing, which it lacks."""

        def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
            """Return a URL that anyone can read an object with, for ``expiration`` seconds."""
            bucket, name = self._bucket_and_key(path)
            url: str = bucket.sign_url("GET", name, expiration, slash_safe=True)
            return url

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            """Return what ossfs knows of an object, and the object's ETag."""
            known: dict[str, Any] = super().info(path, **options)
            if known["type"] != "file":
                return known
            bucket, name = self._bucket_and_key(path)
            return known | {"ETag": bucket.get_object_meta(name).etag}

        def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **_: Any) -> None:
            """Upload a file of at most 5 GB; with ``mode="create"`` only if there is no such object.

            :raises FileExistsError: when there is one.
            """
            bucket, name = self._bucket_and_key(rpath)
            _put_object(bucket, name, lpath, translate_oss_error, may_replace=mode != "create")
            self.invalidate_cache(self._parent(rpath))

        def _bucket_and_key(self, path: str) -> tuple[Any, str]:
            bucket, _, name = self._strip_protocol(path).lstrip("/").partition("/")
            return oss2.Bucket(auth, endpoint, bucket), name

    return SigningFileSystem(endpoint=endpoint, key=key, secret=secret, token=token, **(storage_options or {}))


def _put_object(
    bucket: Any, name: str, local: str, translate: Callable[[Exception], Exception], *, may_replace: bool
) -> None:
    try:
        bucket.put_object_from_file(name, local, headers={} if may_replace else {"x-oss-forbid-overwrite": "true"})
    except Exception as error:  # noqa: BLE001 - the text of oss2's own errors shows what was signed
        if getattr(error, "code", None) == "FileAlreadyExists":
            raise FileExistsError(f"{name} exists already") from None
        raise translate(error) from None
