"""Faults: each strikes running processes while mail comes in, and an oracle compares two ledgers afterwards.

`python -m tests.faults` runs them all, `python -m tests.faults F03 kills` some; each prints one line of JSON.
"""
