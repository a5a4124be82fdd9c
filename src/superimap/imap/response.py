"""Whole IMAP responses: their texts and literals, and how they are kept (RFC 9051 section 4.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

MAX_PARSED_BYTES = 64 * 1024
"""Most text of one response, or bytes of one value in it, that are parsed: a MiB takes a tenth of a second. Honest
servers need far less for what is asked for."""
PIECE_OVERHEAD_BYTES = 64
"""Memory of one more text or literal."""
_RESPONSE_OVERHEAD_BYTES = 256  # of Python's objects, in addition to the bytes of the response


@dataclass(slots=True)
class Response:
    """One whole response: the texts before, between and after its literals."""

    texts: tuple[bytes, ...]
    literals: tuple[bytes, ...] = ()

    @property
    def line(self) -> bytes:
        """The first line, which names the kind of response."""
        return self.texts[0]

    @property
    def weight(self) -> int:
        """The approximate memory it takes, in bytes."""
        if not self.literals:
            return _RESPONSE_OVERHEAD_BYTES + len(self.texts[0])
        pieces = 2 * len(self.literals) * PIECE_OVERHEAD_BYTES
        return _RESPONSE_OVERHEAD_BYTES + pieces + self.text_bytes + sum(map(len, self.literals))

    @property
    def text_bytes(self) -> int:
        """The bytes of its texts, which are to be parsed."""
        return sum(map(len, self.texts))


Packed = bytes | tuple[bytes, ...]
"""A response as it is kept: its only text, or its texts followed by its literals, of which there is one less."""


def pack(response: Response) -> Packed:
    """Return the response without an object that the garbage collector tracks for long.

    A server may send 100,000 of them. If the collector visited them, it would stop the process for 50 ms.
    """
    return response.texts + response.literals if response.literals else response.texts[0]


class Responses(Sequence[Response]):
    """A view of packed responses."""

    __slots__ = ("_packed",)

    def __init__(self, packed: Sequence[Packed] = ()) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[Response]:
        return map(_unpack, self._packed)

    @overload
    def __getitem__(self, at: int) -> Response: ...
    @overload
    def __getitem__(self, at: slice) -> "Responses": ...
    def __getitem__(self, at: int | slice) -> "Response | Responses":
        return Responses(self._packed[at]) if isinstance(at, slice) else _unpack(self._packed[at])


def _unpack(packed: Packed) -> Response:
    if isinstance(packed, bytes):
        return Response((packed,))
    texts = len(packed) // 2 + 1
    return Response(packed[:texts], packed[texts:])
