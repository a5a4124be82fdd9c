"""What can a request to the database be refused for?"""

from superimap.core.errors import SuperImapError


class RequestError(SuperImapError):
    """A row cannot be read or written as asked; the sentence is meant for whoever asked.

    RequestError
      NotFound   there is no such row             404
      Conflict   what is there stands in the way  409 (`kind` names how, for programs)
      Invalid    a value will not do              422 (`field` names it)
      TooMany    not so often                     429 (`seconds` says when again)
    """


class NotFound(RequestError):
    """There is no such row, or it is another partner's."""


class Conflict(RequestError):
    """The row exists already, others still need it, or it is in no state for this."""

    kind = ""


class TooMany(RequestError):
    """This was done too often; after `seconds` it may be done again."""

    def __init__(self, sentence: str, *, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class Invalid(RequestError):
    """A value will not do. `field` names it, `reason` says why and what would do."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}"
