"""Faults: each strikes running processes while mail comes in, and an oracle compares two ledgers afterwards.

`python -m trials.faults` runs them all, `python -m trials.faults F03 kills` some; each prints one line of JSON.
"""
