"""Cluster scenarios with real processes: `python -m trials.cluster`."""
