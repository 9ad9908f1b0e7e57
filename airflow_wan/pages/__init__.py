"""Pages about videos inside Airflow's own web interface: a task's video, a run's contact sheet, and a gallery."""
