"""Waiting cheaply: what each read of a task means, when to read next, and who reads; it does not import Airflow."""
