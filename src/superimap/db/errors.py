"""What can a request to the database be refused for?"""

from superimap.errors import SuperImapError


class RequestError(SuperImapError):
    """A row cannot be read or written as asked; the sentence is meant for whoever asked.

    RequestError
      NotFound   there is no such row             404
      Conflict   another row stands in the way    409
      Invalid    a value will not do              422 (`field` names it)
    """


class NotFound(RequestError):
    """There is no such row, or it is another partner's."""


class Conflict(RequestError):
    """The row exists already, or others still need it."""


class Invalid(RequestError):
    """A value will not do. `field` names it, `reason` says why and what would do."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}"
