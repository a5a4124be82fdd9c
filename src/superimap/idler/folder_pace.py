"""Intervals in which the further watched folders of a user are counted and listed."""

import math

LIST_SECONDS = 600.0
"""Interval in which the folders are listed again, so that new and renamed ones are found."""
SOONEST_LIST_SECONDS = 5.0
"""Shortest interval of two lists."""
FOLDERS_PER_INTERVAL = 10
"""Folders that FOLDER_STATUS_SECONDS is for; with twice as many the interval is twice as long."""
DEFERRED_SECONDS = 30.0
"""Shortest interval of two visits for the sake of deferred mails."""


def count_interval(folders: int, *, status_seconds: float, renewal: float, is_announced: bool) -> float:
    """Return the seconds until the counts are asked for again.

    Where the server announces mail, that is for lost announcements: once in a `renewal` of IDLE.
    """
    if not folders:
        return math.inf
    return renewal if is_announced else status_seconds * math.ceil(folders / FOLDERS_PER_INTERVAL)
