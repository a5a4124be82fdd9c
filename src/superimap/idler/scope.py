"""What the procedures on one connection share."""

from typing import NamedTuple

from superimap.db.watching.intake import Fence
from superimap.db.watching.sessions import WatchedUser
from superimap.idler.context import IdlerContext
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.status_reports import ConnectionStatus
from superimap.imap.client import ImapClient


class ConnectionScope(NamedTuple):
    """One connection of one user. `fence` is of the user's shard; `memory` outlives the connection."""

    context: IdlerContext
    client: ImapClient
    watched: WatchedUser
    memory: MailboxMemory
    fence: Fence
    status: ConnectionStatus
