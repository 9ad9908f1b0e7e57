"""What Airflow reads about this provider at start-up; imports nothing, for it runs in every `airflow` command."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata. ``package-name`` must be the canonical distribution name, or Airflow does not start."""
    return {
        "package-name": "airflow-provider-wan",
        "name": "Wan",
        "description": "Alibaba's Wan video models, through the APIYI and DashScope gateways.",
        "integrations": [
            {
                "integration-name": "Wan",
                "external-doc-url": "https://docs.apiyi.com/en/api-capabilities/wan/overview",
                "tags": ["ai", "video"],
            }
        ],
        "hooks": [{"integration-name": "Wan", "python-modules": ["airflow_wan.hooks.wan"]}],
        "operators": [{"integration-name": "Wan", "python-modules": ["airflow_wan.operators.wan"]}],
        "sensors": [{"integration-name": "Wan", "python-modules": ["airflow_wan.sensors.wan"]}],
        "triggers": [{"integration-name": "Wan", "python-modules": ["airflow_wan.triggers.wan"]}],
        "filesystems": ["airflow_wan.fs.oss"],
        "connection-types": [
            {
                "connection-type": "wan",
                "hook-class-name": "airflow_wan.hooks.wan.WanHook",
                "hook-name": "Wan",
                "conn-fields": {
                    "gateway": {
                        "label": "Gateway",
                        "description": "Which gateway the host is. Told from the host when empty.",
                        "schema": {"type": ["string", "null"], "enum": ["apiyi", "dashscope", None], "default": None},
                    },
                    "workspace": {
                        "label": "Workspace",
                        "description": "DashScope workspace id, sent as X-DashScope-WorkSpace. Usually empty.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "connect_timeout": {
                        "label": "Connect timeout",
                        "description": "Seconds until a connection must stand (default 10).",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "read_timeout": {
                        "label": "Read timeout",
                        "description": "Seconds without a byte until an answer is given up (default 60).",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port"],
                    "relabeling": {"password": "API key", "host": "Base URL"},
                    "placeholders": {"password": "sk-…", "host": "https://api.apiyi.com"},
                },
            }
        ],
        "config": {
            "wan": {
                "description": "Options of the Wan provider (airflow-provider-wan).",
                "options": {
                    "output_base": {
                        "description": (
                            "Folder or object store URI under which videos go whose task names no output_path, and "
                            "under which relative ones lie. With executors that run tasks on several machines it must "
                            "be an object store or a shared file system. Default: wan_videos in AIRFLOW_HOME."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "s3://aws_default@my-bucket/wan",
                        "default": "",
                    },
                    "poll_interval": {
                        "description": (
                            "Shortest time between two asks about a task, in seconds, where the DAG names none. "
                            "APIYI asks for at least 3; a DashScope account may ask 20 times a second in all."
                        ),
                        "version_added": None,
                        "type": "float",
                        "example": "30",
                        "default": "15",
                    },
                    "usd_per_second": {
                        "description": (
                            "Rates for cost estimates, as JSON: gateway, model, resolution, USD a second. They go "
                            "over the dated list prices that the package ships."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": '{"apiyi": {"wan2.7-i2v": {"720P": 0.084, "1080P": 0.14}}}',
                        "default": "",
                    },
                },
            }
        },
    }
