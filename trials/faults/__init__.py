"""Fault injection on real servers: `python -m trials.faults`."""
