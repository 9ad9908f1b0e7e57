"""File hosts and mp4 files for the tests in this folder."""

from file_host import film, film_file, host, mp4, names, proxied, tls, tls_hosts  # noqa: F401 - fixtures
