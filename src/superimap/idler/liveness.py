"""Proofs of life of mail servers, collected in memory for each user. Every byte from a server is a proof."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from superimap.imap.client import ImapClient


class LastProof(NamedTuple):
    """When the mail server of a user of this shard last answered, by the event loop's clock."""

    at: float
    shard: int


class LivenessProofs:
    """The established sessions, and the last proofs of ended ones. Times are those of the event loop."""

    def __init__(self) -> None:
        self._established: dict[int, tuple[ImapClient, int]] = {}
        self._ended: dict[int, LastProof] = {}
        self._begun: set[int] = set()

    @property
    def sessions(self) -> int:
        """The number of established sessions."""
        return len(self._established)

    @contextlib.contextmanager
    def track(self, user_id: int, shard: int, client: ImapClient) -> Iterator[None]:
        """Inside the block, count what this client receives as proof of life of the user's mail server."""
        self._established[user_id] = client, shard
        self._begun.add(user_id)
        try:
            yield
        finally:
            del self._established[user_id]
            self._ended[user_id] = LastProof(client.last_proven_alive, shard)

    def client_of(self, user_id: int) -> ImapClient | None:
        """Return the client of an established session; None if the user has none."""
        found = self._established.get(user_id)
        return None if found is None else found[0]

    def take_begun(self) -> set[int]:
        """Return the users who have had a new session since the last call."""
        begun, self._begun = self._begun, set()
        return begun

    def last(self, *, after: float) -> dict[int, LastProof]:
        """Return the last proof of each user that is later than `after`, and forget those of ended sessions."""
        ended, self._ended = self._ended, {}
        found = {user_id: proof for user_id, proof in ended.items() if proof.at > after}
        for user_id, (client, shard) in self._established.items():
            if (at := client.last_proven_alive) > after:
                found[user_id] = LastProof(at, shard)
        return found
