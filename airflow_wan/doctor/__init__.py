"""Tells what is wrong with a connection before anything is bought, and what to do; nothing in here knows Airflow."""
