"""Errors of requests to the database, as the API and the command line report them."""

from superimap.core.errors import SuperImapError


class RequestError(SuperImapError):
    """A row cannot be read or written as requested. The text is meant for the caller of the API or command.

    RequestError
      NotFound   the row does not exist              404
      Conflict   existing rows forbid the request    409 (`kind` says why, for programs)
      Invalid    a value is not valid                422 (`field` names it)
      TooMany    the rate limit is reached           429 (`seconds` says when to retry)
      Forbidden  the caller lacks the right          403 (`kind` says which, `field` may name a field)
    """


class NotFound(RequestError):
    """The row does not exist, or belongs to another partner."""


class Conflict(RequestError):
    """The row exists already, other rows still need it, or its state forbids the request."""

    kind = ""

    def __init__(self, sentence: str, *, kind: str | None = None) -> None:
        super().__init__(sentence)
        self.kind = self.kind if kind is None else kind


class Forbidden(RequestError):
    """The caller's key lacks the right. `kind` names the reason; `field` a field that asks for too much."""

    def __init__(self, sentence: str, *, kind: str, field: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind
        self.field = field


class TooMany(RequestError):
    """The rate limit is reached. The request may be repeated after `seconds`."""

    def __init__(self, sentence: str, *, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class Invalid(RequestError):
    """A value is not valid. `field` names it; `reason` says what is wrong and what is expected."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}"
