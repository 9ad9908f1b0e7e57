"""What several rooms share for talking to hosts; no Airflow and no Wan protocol in here."""
