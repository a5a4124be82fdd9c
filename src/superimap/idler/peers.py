"""Shares of mail servers: no server, and no partner's or person's choice of servers, takes more than a part.

Servers of providers are configured by the operator. Servers that people named may be hostile, in any number: each
has a small share of the event loop's time, those of one partner have a share together, and all of them one.
"""

import weakref
from functools import partial

from superimap.core.resolver import Resolver
from superimap.db.watching.sessions import WatchedUser
from superimap.idler.limits import ByteLimits
from superimap.idler.rooms import RoomPool, SessionRoom
from superimap.imap.peer import LookUp, Peer
from superimap.imap.read_budget import LoopShare

PROVIDER_FLOOD_SHARE = 0.5
"""Share of the event loop's time for all connections of a provider's host that exceed their own share."""
NAMED_HOST_SHARE = 0.1
"""Share for all connections to one host that people named."""
NAMED_PARTNER_SHARE = 0.2
"""Share for all such hosts of one partner's users."""
NAMED_SHARE = 0.4
"""Share for all such hosts."""


class Peers:
    """The shares of all servers of an idler. A share lives as long as a session has it."""

    def __init__(self, resolver: Resolver, byte_limits: ByteLimits) -> None:
        self._look_up = partial(resolver.look_up, is_named=False)
        self._look_up_named = partial(resolver.look_up, is_named=True)
        self._byte_limits = byte_limits
        self._pool = RoomPool()
        self._named = LoopShare(NAMED_SHARE)
        self._shares: weakref.WeakValueDictionary[tuple[str, str | int], LoopShare] = (
            weakref.WeakValueDictionary()
        )

    @property
    def look_up(self) -> LookUp:
        """The resolver of servers that operators named."""
        return self._look_up

    def room(self, watched: WatchedUser) -> SessionRoom:
        """Return the memory of one session with the user's server."""
        limit = self._byte_limits.for_host(watched.imap_host, is_named=watched.has_own_server)
        return SessionRoom(self._pool, limit, watched.imap_host, is_named=watched.has_own_server)

    def peer(self, watched: WatchedUser, room: SessionRoom) -> Peer:
        """Return the shares of one connection to the user's server."""
        look_up = self._look_up_named if watched.has_own_server else self._look_up
        return Peer(look_up, room, self._loop_shares(watched))

    def _loop_shares(self, watched: WatchedUser) -> tuple[LoopShare, ...]:
        host = watched.imap_host
        if not watched.has_own_server:
            return (self._share("provider", host, PROVIDER_FLOOD_SHARE, is_for_floods=True),)
        return (
            self._share("host", host, NAMED_HOST_SHARE),
            self._share("partner", watched.partner_id, NAMED_PARTNER_SHARE),
            self._named,
        )

    def _share(self, kind: str, name: str | int, share: float, *, is_for_floods: bool = False) -> LoopShare:
        found = self._shares.get((kind, name))
        if found is None:
            found = self._shares[kind, name] = LoopShare(share, is_for_floods=is_for_floods)
        return found
