"""Rows of the folders that a user's list selects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Pool

from superimap.db import statements
from superimap.db.watching.intake import Fence, Fenced
from superimap.db.watching.sessions import WatchedUser

_WATCH_FOLDERS = statements.load(__file__)["watch_folders"]


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A watched folder: mail that arrived before `since` is no news. Without a cursor, `last_uid` is None.

    `server_value` is the UIDVALIDITY that the mail server reported last; None before the first visit.
    """

    id: int
    name: str
    since: datetime
    server_value: int | None
    last_uid: int | None


async def watch_folders(
    pool: Pool, watched: WatchedUser, fence: Fence, names: Sequence[str]
) -> dict[str, FolderRow]:
    """Return the rows of these folders by name, and end the watch of all others of the user. Raises Fenced.

    A folder that was not watched before has no cursor, except the one that was opened last.
    """
    rows = await pool.fetch(
        *_WATCH_FOLDERS.bind(
            shard=fence.shard,
            owner=fence.owner,
            epoch=fence.epoch,
            user_id=watched.user_id,
            partner_id=watched.partner_id,
            account=watched.account,
            listed_since=watched.listed_since,
            names=list(names),
        )
    )
    found = {row["name"]: FolderRow(*row) for row in rows}
    if len(found) < len(set(names)):
        raise Fenced
    return found
