"""File systems for object stores that no other Airflow provider supports."""
