"""Faults: each strikes running processes while mail arrives; afterwards mails and webhooks are compared.

`python -m trials.faults` runs all of them, `python -m trials.faults F03 kills` some; each prints one line of JSON.
"""
