"""The metadata that Airflow reads at start-up. It runs in every `airflow` command, so it imports nothing."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata.

    Airflow does not start unless ``package-name`` is the canonical name of the distribution.
    """
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
        "task-decorators": [{"name": "wan_video", "class-name": "airflow_wan.decorators.wan.wan_video_task"}],
        "extra-links": ["airflow_wan.videos.extra_link.VideoLink"],
        "filesystems": ["airflow_wan.fs.oss"],
        # Read by Airflow 3.2 and later.
        "cli": ["airflow_wan.cli.definition.get_wan_cli_commands"],
        "connection-types": [
            {
                "connection-type": "wan",
                "hook-class-name": "airflow_wan.hooks.wan.WanHook",
                "hook-name": "Wan",
                "conn-fields": {
                    "gateway": {
                        "label": "Gateway",
                        "description": "Which gateway the host belongs to. When empty, the host decides.",
                        "schema": {
                            "type": ["string", "null"],
                            "enum": ["apiyi", "dashscope", None],
                            "values_display": {
                                "apiyi": "APIYI",
                                "dashscope": "DashScope (Alibaba Cloud)",
                                "null": "The one that the host belongs to",
                            },
                            "default": None,
                        },
                    },
                    "workspace": {
                        "label": "Workspace",
                        "description": "DashScope workspace id, sent as X-DashScope-WorkSpace. Usually empty.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "system_token": {
                        "label": "System token",
                        "description": (
                            "APIYI's system access token, not an sk- key. It opens the account's list of tasks, in "
                            "which a lost task is looked for, and which tells what a video has cost. Usually empty."
                        ),
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "connect_timeout": {
                        "label": "Connect timeout",
                        "description": "Longest time to open a connection, in seconds (default 10).",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "read_timeout": {
                        "label": "Read timeout",
                        "description": "Longest time without any data from the gateway, in seconds (default 60).",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "total_timeout": {
                        "label": "Total timeout",
                        "description": "Longest time for one call to the gateway altogether, in seconds (default 180).",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "least_speed": {
                        "label": "Least speed",
                        "description": (
                            "Lowest speed of an upload or download, averaged over a minute, in bytes per second "
                            "(default 1024)."
                        ),
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
                            "Folder or object store URI for the videos of tasks without an output_path; a relative "
                            "output_path is relative to it. With executors that run tasks on several machines it must "
                            "be an object store or a shared file system. Default: wan_videos in AIRFLOW_HOME."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "s3://aws_default@my-bucket/wan",
                        "default": "",
                    },
                    "local_paths_are_shared": {
                        "description": (
                            "Whether all machines that run tasks share the folders that local paths lead to. If not, "
                            "tasks under an executor with several machines buy no video for the default folder."
                        ),
                        "version_added": None,
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                    "preview_bases": {
                        "description": (
                            "Folders and object store URIs, as a JSON list, whose videos, pictures and sounds the "
                            "pages in Airflow's web interface may show, beside output_base. A URI must name the "
                            "connection as the tasks do. The API server must be able to read them."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": '["/mnt/media", "s3://aws_default@my-bucket/wan"]',
                        "default": "",
                    },
                    "poll_interval": {
                        "description": (
                            "Fixed time between two reads of a Wan task, in seconds, for tasks that do not set their "
                            "own. When empty, a schedule decides that knows how long such videos take. APIYI asks for "
                            "at least 3 seconds."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "30",
                        "default": "",
                    },
                    "reads_per_second": {
                        "description": (
                            "How many Wan tasks a second all waits together read for one gateway account, each with a "
                            "request of its own. When empty: 16 at DashScope, which admits 20, and 5 at APIYI."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "8",
                        "default": "",
                    },
                    "lists_per_second": {
                        "description": (
                            "How many pages of the list of tasks, of up to 100 tasks each, all waits together read a "
                            "second for one DashScope account. When empty: 4; DashScope admits 20."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "10",
                        "default": "",
                    },
                    "share_of_limits": {
                        "description": (
                            "The part of an account's reads_per_second and lists_per_second that one triggerer may "
                            "use, from 0 to 1. With two triggerers, set 0.5."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "0.5",
                        "default": "",
                    },
                    "creates_per_second": {
                        "description": (
                            "How many create requests a second all tasks of one machine send together, for each "
                            "account and model; 0 for no limit. DashScope admits 5 for each account and model. If "
                            "tasks run on several machines, each of them gets its part."
                        ),
                        "version_added": None,
                        "type": "float",
                        "example": "2",
                        "default": "4",
                    },
                    "deferrable": {
                        "description": (
                            "Whether tasks that do not say so themselves wait in the triggerer (True) or on a worker "
                            "(False). When empty, the environment variable AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE "
                            "decides; without it, they wait in the triggerer."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "True",
                        "default": "",
                    },
                    "dry_run": {
                        "description": (
                            "Whether no task buys a video, whatever its own dry_run says: each checks everything that "
                            "can be checked for nothing, tells what the video would cost, and is skipped."
                        ),
                        "version_added": None,
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                    "max_cost_per_dag_run": {
                        "description": (
                            "What the tasks of one DAG run may spend on videos together, in USD. When empty, there is "
                            "no limit. It needs budget_base or output_base."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "5",
                        "default": "",
                    },
                    "max_cost_per_month": {
                        "description": (
                            "What all tasks together may spend on videos in a calendar month of UTC, in USD. When "
                            "empty, there is no limit. It needs budget_base or output_base."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "300",
                        "default": "",
                    },
                    "budget_base": {
                        "description": (
                            "Folder or object store URI in which all tasks tell each other what they spend, for "
                            "max_cost_per_dag_run and max_cost_per_month. All machines that run tasks must share it. "
                            "When empty: wan_budget in output_base, if that is set."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "s3://aws_default@my-bucket/wan_budget",
                        "default": "",
                    },
                    "usd_per_second": {
                        "description": (
                            "Rates for cost estimates, as JSON: gateway, model, resolution, USD per second of video. "
                            "They override the dated list prices in the package."
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
