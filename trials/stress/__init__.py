"""Proofs that the stress test notices broken parts: `python -m trials.stress`."""
