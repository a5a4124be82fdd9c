"""What the server has said about itself and the open mailbox: the greeting, and untagged responses."""

import math

from superimap.imap.errors import Disconnected
from superimap.imap.response import Response
from superimap.imap.state import MailboxState
from superimap.imap.statuses import (
    Status,
    needs_select,
    parse_capabilities,
    parse_greeting,
    parse_status,
    parse_uid,
    parse_uid_validity,
    tidy_untagged,
)

_MAX_KEYWORDS_BYTES = 64  # of the words that name an untagged response


class ServerState:
    """The greeting, the capabilities and the open mailbox, kept up to date by untagged responses."""

    __slots__ = ("capabilities", "greeting", "mailbox", "needs_select")

    def __init__(self) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self.greeting: str | None = None
        """OK, PREAUTH or BYE."""
        self.needs_select = False
        self.mailbox = MailboxState()

    def take_greeting(self, line: bytes) -> None:
        """Read the greeting by its keyword. Raises Disconnected if the server refuses the connection.

        # upstream: accepted any "OK" in the line, as in `* BYE LOOKUP`
        """
        self.greeting, said = parse_greeting(line)
        if self.greeting == "BYE":
            raise Disconnected("refused at the greeting", said.text, said.code)
        self.needs_select = needs_select(said.text)
        self.apply_code(said)

    def take_untagged(self, response: Response, *, during: str, selected: bool) -> tuple[bytes, Response]:
        """Apply counts and codes; return the name of the response, and the response as it should be written.

        `during` is the name of the pending command; `selected` says that a mailbox is open. Raises Disconnected if
        the connection is of no more use.
        # upstream: deleted every `* ` within the line
        """
        words = response.line[:_MAX_KEYWORDS_BYTES].split(b" ", 3)
        is_count = len(words) > 2 and words[1].isdigit()
        name = (words[2] if is_count else words[1] if len(words) > 1 else b"").upper()
        if not name.isalnum() and (tidy := tidied(response)).line != response.line:
            return self.take_untagged(tidy, during=during, selected=selected)
        opening = during in ("EXAMINE", "SELECT")
        if is_count and name == b"FETCH":
            if self.mailbox.changes_from != math.inf and (
                during != "FETCH" or b"FLAGS (" in response.line[:_MAX_KEYWORDS_BYTES]
            ):
                self.mailbox.record_flags()
        elif is_count:
            self.mailbox.record_count(name, words[1], opening=opening, idling=during == "IDLE")
        elif name == b"VANISHED" and not opening:
            self.mailbox.record_vanished(response.line[11:])
        elif name in (b"OK", b"NO", b"BAD"):
            self.apply_code(parse_status(response.line[3 + len(name) :]), opening=opening, selected=selected)
        elif name == b"CAPABILITY":
            self.capabilities = parse_capabilities(response.line[13:])
        elif name == b"BYE" and during != "LOGOUT":
            said = parse_status(response.line[6:])
            raise Disconnected("closed by the server", said.text, said.code)
        return name, response

    def apply_code(self, said: Status, *, opening: bool = False, selected: bool = False) -> None:
        """Apply a response code. Raises Disconnected if the open mailbox has got another UIDVALIDITY."""
        if said.code == "CAPABILITY":
            self.capabilities = parse_capabilities(said.value)
        elif said.code == "UIDNEXT" and opening:
            self.mailbox.uid_next = parse_uid(said.value)
        elif said.code == "UIDVALIDITY" and (value := parse_uid_validity(said.value)) is not None:
            if opening:
                self.mailbox.uid_validity = value
            elif selected and self.mailbox.uid_validity not in (None, value):
                raise Disconnected("UIDVALIDITY changed under the open mailbox")


def tidied(response: Response) -> Response:
    """Return the response with a first line as it should be written."""
    return Response((tidy_untagged(response.line), *response.texts[1:]), response.literals)
