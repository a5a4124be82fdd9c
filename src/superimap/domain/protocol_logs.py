"""Limits of protocol logs: for how long, of how many mailboxes, and how much is kept."""

from datetime import timedelta

LOG_TIME = timedelta(minutes=15)
RETENTION_DAYS = 1.0
"""After the end of a log."""
MAX_LOGS = 20
"""Mailboxes that are logged at once, in the whole cluster."""
MAX_LINES = 3000
"""Lines of one log."""
