"""The Wan wire protocol of both gateways: requests, answers, errors, and when to ask again; no Airflow here."""
