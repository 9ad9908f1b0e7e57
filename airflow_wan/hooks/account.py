"""What an Airflow connection says, as the fields that `airflow_wan.api.accounts` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_wan.api.accounts import ConnectionFields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Connection


def fields_of(connection: Connection, conn_id: str, extra: Mapping[str, Any]) -> ConnectionFields:
    """Return what an Airflow connection says.

    :param connection: the connection, of any type.
    :param conn_id: its id, for messages.
    :param extra: its extra, as a dict.
    """
    return ConnectionFields(
        name=name_of(conn_id),
        api_key=connection.password,
        host=connection.host,
        scheme=connection.schema,
        port=connection.port,
        extra=extra,
        connection_type=str(connection.conn_type),
    )


def name_of(conn_id: str) -> str:
    """Return what messages call an Airflow connection, as the beginning of a sentence."""
    return f"The Airflow connection {conn_id!r}"


def how_to_set(conn_id: str, problem: str) -> str:
    """Return a message that names a connection's problem and says how to set the connection.

    :param conn_id: the connection's id.
    :param problem: what is wrong, as a sentence.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    return (
        f"{problem} Set it under Admin > Connections (type 'Wan': the API key as password, the base URL such as "
        "https://api.apiyi.com as host), or in the environment: "
        f'{variable}=\'{{"conn_type": "wan", "password": "<API key>"}}\'.'
    )
