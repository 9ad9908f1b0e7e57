"""Nothing but the name by which Airflow 3.3 and later look for this distribution's example DAGs; see `airflow_wan`.

With ``[core] load_examples``, Airflow takes a provider's package to be named like its distribution, and logs an error
with a stack trace in each command where there is none. There are no example DAGs here: they would order videos.
"""
