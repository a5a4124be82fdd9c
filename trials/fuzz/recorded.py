"""Recorded dialogues of mail servers: what each server answered to each command.

A file of the corpus has a line `C: ` for each command, without its tag and without credentials, and a line `S: `
for each line of the answer, in which `{tag}` stands for the tag. The first lines are the greeting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
GREETING = ""
TAG = b"{tag}"
_SECRET = re.compile(r"^(LOGIN|AUTHENTICATE \S+)\b.*", re.IGNORECASE)


@dataclass(frozen=True)
class Exchange:
    """A command, and the bytes that the server sent until the next one."""

    command: str
    answer: bytes

    @property
    def kind(self) -> str:
        """The kind of the command."""
        return command_kind(self.command)


def command_kind(command: str) -> str:
    """The name of a command without its arguments; FETCH of whole mails is distinguished from that of metadata.

    SELECT counts as EXAMINE: the client chooses by the server.
    """
    upper = command.upper().replace("SELECT", "EXAMINE")
    words = upper.split()
    if not words:
        return GREETING
    name = " ".join(words[:2]) if words[0] == "UID" else words[0]
    return f"{name} BODY" if "BODY.PEEK[]" in upper else name


def from_parts(parts: Iterable[tuple[bool, bytes]]) -> list[Exchange]:
    """The exchanges of a connection; `True` marks bytes of the server."""
    exchanges, tag = [Exchange(GREETING, b"")], b""
    for is_server, piece in parts:
        if is_server:
            last = exchanges[-1]
            exchanges[-1] = Exchange(last.command, last.answer + piece)
            continue
        for line in piece.decode("utf-8", "replace").splitlines():
            exchanges[-1] = _without_tag(exchanges[-1], tag)
            first, _, command = line.partition(" ")
            tag = tag if first == "DONE" else first.encode()
            exchanges.append(Exchange(_SECRET.sub(r"\1", command or first), b""))
    exchanges[-1] = _without_tag(exchanges[-1], tag)
    return exchanges


def _without_tag(exchange: Exchange, tag: bytes) -> Exchange:
    if not tag:
        return exchange
    return Exchange(exchange.command, re.sub(rb"(?m)^" + re.escape(tag) + rb"(?= )", TAG, exchange.answer))


def as_text(exchanges: Iterable[Exchange]) -> str:
    """The content of a file of the corpus."""
    lines = []
    for each in exchanges:
        if each.command != GREETING:
            lines.append(f"C: {each.command}")
        lines += [f"S: {line}".rstrip() for line in each.answer.decode("ascii").split("\r\n")[:-1]]
    return "\n".join(lines) + "\n"


def from_text(text: str) -> list[Exchange]:
    """The exchanges of a file of the corpus."""
    exchanges = [Exchange(GREETING, b"")]
    for line in text.splitlines():
        content = line[3:]
        if line.startswith("C:"):
            exchanges.append(Exchange(content, b""))
        else:
            last = exchanges[-1]
            exchanges[-1] = Exchange(last.command, last.answer + content.encode("ascii") + b"\r\n")
    return exchanges


def corpus() -> dict[str, list[Exchange]]:
    """All recorded dialogues by the names of their files."""
    return {path.stem: from_text(path.read_text("ascii")) for path in sorted(CORPUS.glob("*.txt"))}
