"""Object stores that Airflow has no file system for."""
