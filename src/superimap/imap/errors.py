"""What can go wrong with a mail server, sorted by what to do next?"""

from superimap.core.errors import SuperImapError


class ImapError(SuperImapError):
    """The session is of no more use; no text carries a secret or a mail.

    ImapError
      Unreachable            no address could be dialled       try again later
      TlsFailed              certificate, handshake, STARTTLS  try again later, and tell somebody
      Disconnected           closed, reset, or BYE             try again
      TimedOut               no answer within its time         try again
      Refused                NO or BAD to a command            try again later (`code` says more)
      AuthenticationFailed   these credentials will not do     ask the user for others
      Gibberish              not IMAP                          try again
        OutOfStep            an answer to nothing that was asked
      LimitExceeded          more than `Limits` allows         try again; the mail may be the cause
    """


class Unreachable(ImapError):
    """No address of the host could be dialled: DNS, refused, no route, or the guard said no."""


class TlsFailed(ImapError):
    """No trustworthy TLS: bad certificate, failed handshake, STARTTLS missing or stripped."""


class Disconnected(ImapError):
    """The connection is gone. `bye` is the text of the server's BYE, if it sent one."""

    def __init__(self, reason: str, bye: str | None = None) -> None:
        super().__init__(reason, bye)
        self.reason = reason
        self.bye = bye

    def __str__(self) -> str:
        return f"{self.reason}: BYE {self.bye}" if self.bye is not None else self.reason


class TimedOut(ImapError):
    """`doing` was not over within `seconds`; the connection was closed."""

    def __init__(self, doing: str, seconds: float) -> None:
        super().__init__(doing, seconds)
        self.doing = doing
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.doing} took more than {self.seconds:g} s"


class Refused(ImapError):
    """The server answered `status`, NO or BAD. `code` is the response code, as "THROTTLED", or None."""

    def __init__(self, command: str, status: str, text: str, code: str | None = None) -> None:
        super().__init__(command, status, text, code)
        self.command = command
        self.status = status
        self.text = text
        self.code = code

    def __str__(self) -> str:
        code = f"[{self.code}] " if self.code else ""
        return f"{self.command}: {self.status} {code}{self.text}"


class AuthenticationFailed(ImapError):
    """These credentials are not accepted and will not be later. `detail` is the provider's JSON (OAuth)."""

    def __init__(self, text: str, code: str | None = None, detail: str | None = None) -> None:
        super().__init__(text, code, detail)
        self.text = text
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return " ".join(part for part in (self.code and f"[{self.code}]", self.text, self.detail) if part)


class ProtocolError(ImapError):
    """What the server sent cannot be understood, or does not belong to what was asked."""


class OutOfSync(ProtocolError):
    """A tagged line that is no answer to the command at hand: the fault of the connection, not of a mail."""


class LimitExceeded(ImapError):
    """The server sent a line, a literal or a response beyond `Limits`.

    `announced` is the size in bytes of a literal that was not even begun to be read.
    """

    def __init__(self, text: str, announced: int | None = None) -> None:
        super().__init__(text)
        self.announced = announced
