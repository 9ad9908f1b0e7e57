"""Helpers for arguments of DAG authors, which may hold any value: is it given, is it a dict, how to show it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_wan.redaction import redact

DEFAULT_RESOLUTION = "720P"
"""Sent if the author gives none: the gateways' own defaults differ, and 1080P costs more."""

MAX_SHOWN_CHARS = 120
"""Longest value in a message; a longer one is cut."""


def is_unset(value: object) -> bool:
    """Return whether an argument counts as not given: None, or what a template renders for nothing ("", "None")."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def is_sequence(value: object) -> bool:
    """Return whether an argument holds several values: a list, a tuple, or one of Airflow's lazy sequences."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def path_as_text(value: Any) -> Any:
    """Return the text of a `Path`, or of an Airflow `ObjectStoragePath`; any other value as it is."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Not imported: this package speaks to gateways without Airflow.
    is_store_path = any(base.__name__ == "ObjectStoragePath" for base in type(value).__mro__)
    return str(value) if is_store_path else value


def number_as_text(value: Any) -> Any:
    """Return the text of a number, which native rendering makes of a text such as "5"; any other value as it is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # an integer of thousands of digits
            return value
    return value


def read_mapping(name: str, value: object, problems: list[str]) -> Mapping[str, Any]:
    """Return an argument that must be a dict, or an empty dict if it is not given or is no dict.

    :param name: name of the argument, for the message.
    :param value: what the author gave.
    :param problems: gets a sentence if the value is not a dict.
    """
    if is_unset(value):
        return {}
    if not isinstance(value, Mapping):
        problems.append(f"{name} must be a dict, got {show(value)} (a template in place of the dict renders text).")
        return {}
    return value


def show(value: object) -> str:
    """Return a value for a message: cut, and without keys and signatures."""
    try:
        text = redact(repr(value))
    except Exception:  # noqa: BLE001 - repr() fails for an integer of thousands of digits, or in a foreign object
        text = f"<{type(value).__name__}>"
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"


def show_name(name: object) -> str:
    """Return a key of an author's dict for a message; it need not be a string."""
    return name if isinstance(name, str) else show(name)
