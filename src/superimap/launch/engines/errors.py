"""What can go wrong with the embedded engines?"""

from superimap.core.errors import SuperImapError


class EmbeddedError(SuperImapError):
    """An engine cannot run here; the sentence says why and what to do about it."""
