"""What can be made of finished clips: a picture of the frame that one ends with, and one film of several.

Both functions run in a task of their own, on a worker, and take and return what the operators hand on: local paths and
URIs such as ``s3://conn_id@bucket/clip.mp4``. They need PyAV, the extra ``airflow-provider-wan[films]``.
"""

from __future__ import annotations

from airflow_wan.films.joining import join_clips
from airflow_wan.films.last_frame import save_last_frame

__all__ = ["join_clips", "save_last_frame"]
