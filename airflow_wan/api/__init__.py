"""The HTTP protocol of both gateways: requests, answers, errors, and when to poll again; it does not import Airflow."""
