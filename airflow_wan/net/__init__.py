"""Plain networking that several rooms share: addresses, headers, reading files over HTTP, retrying.

Nothing in here knows Airflow or the Wan API.
"""
