"""The command line `airflow-wan`, which is `airflow wan`, too: videos without a DAG, paid once all the same."""
