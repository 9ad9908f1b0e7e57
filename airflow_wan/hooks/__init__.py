"""The way from an Airflow connection to a gateway client."""
