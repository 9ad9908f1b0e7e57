"""Lineage and metrics: what a run tells other systems."""
