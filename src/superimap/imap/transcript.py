"""Lines of a conversation for people: without secrets, and without anything of a mail.

What is shown is listed; everything else is replaced by `…` or by its size. So a server that puts a subject or a
password where nobody expects it shows nothing either. Only for connections whose mailbox is logged.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum

from superimap.imap.command import Command
from superimap.imap.encoding import Argument, Literal
from superimap.imap.response import Response

MAX_LINE_CHARS = 240
_MAX_READ_BYTES = 2000
"""Of the beginning of a response; its end is not looked at."""
_HIDDEN = "…"


class LineDirection(StrEnum):
    """Who has said a line."""

    SENT = "sent"
    RECEIVED = "received"
    NOTE = "note"  # nobody: something has happened to the connection


Sink = Callable[[LineDirection, str], None]
"""Takes a line that may be shown."""

_WORD_LIST = """
OK NO BAD BYE PREAUTH CAPABILITY LIST XLIST LSUB STATUS SEARCH ESEARCH FLAGS EXISTS RECENT EXPUNGE VANISHED FETCH
UID NIL ALL SINCE UNDELETED NOT RETURN MIN MAX COUNT EXAMINE SELECT CLOSE NOOP IDLE DONE LOGOUT STARTTLS LOGIN
AUTHENTICATE ID NAMESPACE ENABLE UNSELECT CHECK MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ NOMODSEQ MODSEQ
RFC822.SIZE RFC822.HEADER RFC822 INTERNALDATE ENVELOPE BODY BODYSTRUCTURE BODY.PEEK HEADER HEADER.FIELDS TEXT
READ-ONLY READ-WRITE ALERT PERMANENTFLAGS TRYCREATE AUTHENTICATIONFAILED AUTHORIZATIONFAILED UNAVAILABLE EXPIRED
PRIVACYREQUIRED CONTACTADMIN NOPERM INUSE EXPUNGEISSUED CORRUPTION SERVERBUG CLIENTBUG CANNOT LIMIT OVERQUOTA
ALREADYEXISTS NONEXISTENT THROTTLED CLOSED UIDNOTSTICKY PARSE INBOX PLAIN XOAUTH2 OAUTHBEARER \\ANSWERED \\FLAGGED
\\DELETED \\SEEN \\DRAFT \\RECENT \\* \\HASCHILDREN \\HASNOCHILDREN \\NOSELECT \\NOINFERIORS \\NONEXISTENT \\ALL
\\ARCHIVE \\DRAFTS \\JUNK \\SENT \\TRASH \\IMPORTANT \\MARKED \\UNMARKED \\SUBSCRIBED *
"""
_WORDS = frozenset(_WORD_LIST.split())
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[()\[\]<>]|[^\s()\[\]"<>]+')
_PLAIN = re.compile(
    r"(?:\d{1,10}|\*)(?:[:,](?:\d{1,10}|\*)){0,15}"  # a number, or a set of them
    r"|\d{1,10}\.\d{1,10}"  # a part of a mail
    r"|\{\d{1,10}\+?\}"  # the size of a literal
    r"|\d{1,2}-[A-Za-z]{3}-\d{4}"  # a date of SEARCH
)
_TAG = re.compile(r"[A-P]{2,6}\d{1,9}")
_CAPABILITY = re.compile(r"[A-Z][A-Z0-9+-]{0,30}(?:=[A-Z0-9-]{1,30})?")
_WORD_OF_TEXT = re.compile(r"[A-Za-z](?:[A-Za-z'-]{0,24})[.,:;!)]?")
_STATUS = re.compile(
    rb"(\S+ (?:OK|NO|BAD|BYE|PREAUTH))\b ?(\[[^\]\r\n]*\])? ?(.*)", re.DOTALL | re.IGNORECASE
)
_SAYS_WHY = (b"NO", b"BAD", b"BYE")
_NAMES_FOLDER = re.compile(
    rb'(\* (?:X?LIST|LSUB) \([^)]*\) (?:"(?:[^"\\]|\\.)*"|NIL)|\* STATUS) ("(?:[^"\\]|\\.)*"|[^\s"]+)(.*)',
    re.DOTALL | re.IGNORECASE,
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NAME_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_ENDS_OF_WORD = ".,:;!)"
MAX_NAME_WORDS = 500
"""Words of names that a transcript remembers."""


class RedactedTranscript:
    """The lines of one connection. `clean` removes secrets from a text of the server.

    Words of quoted arguments and literals, such as of the folder that is opened, are hidden in later texts.
    """

    __slots__ = ("_clean", "_is_login", "_name_words", "_sink")

    def __init__(self, sink: Sink, clean: Callable[[str], str]) -> None:
        self._sink = sink
        self._clean = clean
        self._name_words: set[str] = set()
        self._is_login = False

    def sent(self, command: Command) -> None:
        """Note a command. Of a login only the mechanism is shown."""
        arguments = command.args
        self._is_login = command.name in ("LOGIN", "AUTHENTICATE")
        if command.name == "LOGIN":
            shown = _HIDDEN
        elif command.name == "AUTHENTICATE":
            shown = f"{_tokens(_bytes_of(arguments[0]))} {_HIDDEN}" if arguments else ""
        else:
            self._remember(arguments)
            shown = " ".join(_tokens(_bytes_of(each)) for each in arguments)
        self._add(LineDirection.SENT, f"{command.head} {shown}".rstrip())

    def continued(self, size: int) -> None:
        """Note that the rest of a command was sent: a literal, or the answer to a challenge.

        Of a login not even the size is shown, which would be the length of a password.
        """
        self._add(LineDirection.SENT, f"({_HIDDEN})" if self._is_login else f"({size} bytes)")

    def done(self) -> None:
        """Note the end of IDLE."""
        self._add(LineDirection.SENT, "DONE")

    def received(self, response: Response) -> None:
        """Note a response."""
        line = response.line[:_MAX_READ_BYTES]
        if line.startswith(b"+"):
            shown = "+"
        elif (status := _STATUS.match(line)) is not None:
            shown = self._status(status)
        elif line[:13].upper() == b"* CAPABILITY ":
            shown = f"* CAPABILITY {_capabilities(line[13:])}"
        else:
            first, *others = _beginning(response.texts)
            shown = " ".join([_data(first), *map(_tokens, others)])
        self._add(LineDirection.RECEIVED, shown)

    def note(self, text: str) -> None:
        """Note something that has happened to the connection, in our words, or the server's as we know them."""
        self._add(LineDirection.NOTE, self._words(text))

    def _status(self, status: re.Match[bytes]) -> str:
        """Return a status response. Its text is shown only where it says why something failed."""
        head, code, text = status[1], status[2] or b"", status[3]
        parts = [_tokens(head)]
        if code[:12].upper() == b"[CAPABILITY ":
            parts.append(f"[CAPABILITY {_capabilities(code[12:-1])}]")
        elif code:
            parts.append(_tokens(code))
        if text and head.upper().endswith(_SAYS_WHY):
            parts.append(self._words(text.decode("ascii", "replace")))
        elif text:
            parts.append(_HIDDEN)
        return " ".join(parts)

    def _words(self, text: str) -> str:
        """Return the words of a text that are neither a secret nor of a name that was sent."""
        words = map(_word_of_text, self._clean(text).split())
        return " ".join(
            _HIDDEN if word.rstrip(_ENDS_OF_WORD).lower() in self._name_words else word for word in words
        )

    def _remember(self, arguments: Iterable[Argument]) -> None:
        """Remember the words of names, which a server may repeat when it refuses the command."""
        for each in arguments:
            names = (
                [each.data.decode("utf-8", "replace")] if isinstance(each, Literal) else _QUOTED.findall(each)
            )
            found = {word.lower() for name in names for word in _NAME_WORD.findall(name)} - {"inbox"}
            if len(self._name_words) + len(found) <= MAX_NAME_WORDS:
                self._name_words |= found

    def _add(self, direction: LineDirection, line: str) -> None:
        self._sink(direction, line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]}{_HIDDEN}")


def _bytes_of(argument: str | Literal) -> bytes:
    return repr(argument).encode() if isinstance(argument, Literal) else argument[:_MAX_READ_BYTES].encode()


def _beginning(texts: tuple[bytes, ...]) -> list[bytes]:
    """Return the first texts of a response, so much as is looked at. A literal is between two of them."""
    found, left = [], _MAX_READ_BYTES
    for text in texts:
        if left <= 0:
            break
        found.append(text[:left])
        left -= len(text) + 1
    return found


def _data(text: bytes) -> str:
    """Return the beginning of a data response, without the name of a folder, which may look like a number."""
    named = _NAMES_FOLDER.match(text)
    if named is None:
        return _tokens(text)
    name = named[2].decode("ascii", "replace")
    is_atom = not name.startswith(('"', "{")) and name.upper() != "INBOX"
    shown = _HIDDEN if is_atom else _token(name, is_first=False)
    return f"{_tokens(named[1])} {shown} {_tokens(named[3])}".rstrip()


def _tokens(text: bytes) -> str:
    """Return a text with only those tokens that are known to be no secret and no part of a mail."""
    shown: list[str] = []
    for at, token in enumerate(_TOKEN.findall(text)):
        word = _token(token.decode("ascii", "replace"), is_first=at == 0)
        if word != _HIDDEN or not shown or shown[-1] != _HIDDEN:
            shown.append(word)
    return re.sub(r"(?<=[(\[<]) | (?=[)\]>])", "", " ".join(shown))


def _token(word: str, *, is_first: bool) -> str:
    if word.upper() == '"INBOX"':
        return word
    if word.startswith('"'):
        return f'"{len(word) - 2 if word.endswith(chr(34)) and len(word) > 1 else len(word) - 1} bytes"'
    if word in "()[]<>" or word.upper() in _WORDS or _PLAIN.fullmatch(word):
        return word
    return word if is_first and _TAG.fullmatch(word) else _HIDDEN


def _capabilities(text: bytes) -> str:
    words = text.decode("ascii", "replace").split()
    return " ".join(word if _CAPABILITY.fullmatch(word.upper()) else _HIDDEN for word in words)


def _word_of_text(word: str) -> str:
    return word if _WORD_OF_TEXT.fullmatch(word) else _HIDDEN
