"""Apache Airflow provider for Alibaba's Wan video models, over the APIYI and DashScope gateways."""

__version__ = "0.1.0"
