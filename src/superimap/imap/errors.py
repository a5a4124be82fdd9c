"""Errors of an IMAP session, sorted by what the caller does next."""

from superimap.core.errors import SuperImapError


class ImapError(SuperImapError):
    """The session is no longer usable. No error text contains a secret or a mail.

    ImapError                cause                           what to do next
      Unreachable            no address could be dialled     try again later
      TlsFailed              certificate, handshake,         try again later, and report it
                             STARTTLS
      Disconnected           closed, reset, or BYE           try again
        IdRefused            the same, in answer to ID       try again without ID
      TimedOut               no answer in time               try again
      Refused                NO or BAD to a command          try again later (`code` says more)
      AuthenticationFailed   credentials not accepted        ask the user for new credentials
      ProtocolError          not IMAP                        try again
        OutOfSync            tagged response to no command   try again
      LimitExceeded          more than `Limits` allows       try again; a mail may be the cause
    """


class Unreachable(ImapError):
    """No address of the host could be dialled: DNS, connection refused, no route, or forbidden by the guard."""


class TlsFailed(ImapError):
    """No trustworthy TLS: invalid certificate, failed handshake, STARTTLS missing or stripped."""


class Disconnected(ImapError):
    """The connection has ended. `bye` and `code` are the text and the code of the server's BYE, if it sent one."""

    def __init__(self, reason: str, bye: str | None = None, code: str | None = None) -> None:
        super().__init__(reason, bye, code)
        self.reason = reason
        self.bye = bye
        self.code = code

    def __str__(self) -> str:
        return f"{self.reason}: BYE {self.bye}" if self.bye is not None else self.reason


class IdRefused(Disconnected):
    """The connection has ended while ID was answered: some servers do not tolerate it."""


class TimedOut(ImapError):
    """`doing` did not finish within `seconds`; the connection was closed."""

    def __init__(self, doing: str, seconds: float) -> None:
        super().__init__(doing, seconds)
        self.doing = doing
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.doing} took more than {self.seconds:g} s"


class Refused(ImapError):
    """The server answered `status`, NO or BAD. `code` is the response code, such as "THROTTLED", or None."""

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
    """The server does not accept these credentials, now or later.

    `detail` is the provider's JSON (OAuth). `advice` says in a sentence what the person can do, if the server's
    text shows it. Unless `is_certain`, wrong credentials are one of several causes that the answer allows.
    """

    def __init__(
        self,
        text: str,
        code: str | None = None,
        detail: str | None = None,
        advice: str = "",
        is_certain: bool = True,
    ) -> None:
        super().__init__(text, code, detail, advice, is_certain)
        self.text = text
        self.code = code
        self.detail = detail
        self.advice = advice
        self.is_certain = is_certain

    def __str__(self) -> str:
        parts = (self.advice, self.code and f"[{self.code}]", self.text, self.detail)
        return " ".join(part for part in parts if part)


class ProtocolError(ImapError):
    """A response is malformed, or does not belong to the command that was sent."""


class OutOfSync(ProtocolError):
    """A tagged response that answers no pending command: a fault of the connection, not of a mail."""


class LimitExceeded(ImapError):
    """The server sent a line, a literal or a response beyond `Limits`.

    `announced` is the size in bytes of a literal that was announced and not read.
    """

    def __init__(self, text: str, announced: int | None = None) -> None:
        super().__init__(text)
        self.announced = announced
