"""`python -m airflow_wan.cli`."""

from airflow_wan.cli.main import run_alone

run_alone()
