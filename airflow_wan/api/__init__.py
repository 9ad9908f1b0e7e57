"""The HTTP protocol of both gateways: requests, answers, errors; it does not import Airflow."""
