"""Memory that one connection holds, as the room of its peer knows it."""

from superimap.imap.framing import Framer
from superimap.imap.peer import Room


class HeldMemory:
    """The bytes of incomplete input, of the answer to the latest command, and of a search result."""

    __slots__ = ("_answered", "_held", "_kept", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0  # as the room knows it
        self._answered = 0  # of these, bytes of the latest command's answer
        self._kept = 0  # and of a search result

    def update(self, framer: Framer, pending: int) -> None:
        """Tell the room what is held now, `pending` bytes by a pending command. Raises LimitExceeded."""
        held = framer.held + pending + self._answered
        if held + self._kept != self._held:
            self._held = held + self._kept
            self._room.hold(held, results=self._kept, announced=framer.announced)

    def begin_command(self) -> None:
        """Stop counting the answer to the command before."""
        self._answered = 0

    def end_command(self, weight: int) -> None:
        """Count the answer to a command until the next one, or until `keep`."""
        self._answered = weight

    def keep(self, size: int | None) -> None:
        """Stop counting the latest answer; count `size` bytes made of it until the next `size`."""
        self._answered, self._kept = 0, self._kept if size is None else size

    def release(self) -> None:
        """Tell the room that the connection holds nothing any more."""
        if self._held:
            self._held = 0
            self._room.hold(0)
