"""Further attempts at the mails of a sweep that could not be read."""

from superimap.db.watching import sweeps as queries
from superimap.idler import mailbox_queries, server_pauses
from superimap.idler.read_errors import NothingReadable, Withheld
from superimap.idler.scope import ConnectionScope
from superimap.idler.sweep_reader import SweepReader
from superimap.idler.swept_mailbox import SweptMailbox
from superimap.imap.errors import ImapError


class SweepRetries:
    """The procedure that tries unread mails once more on one connection. Each result is recorded at once."""

    def __init__(self, scope: ConnectionScope, reader: SweepReader) -> None:
        self._scope = scope
        self._reader = reader

    async def run(self, mailbox: SweptMailbox) -> None:
        """Try the mails that are due, if another mail can be read: otherwise the server is at fault.

        Raises any ImapError, and what the record of a batch raises.
        """
        due = mailbox.due_unread()
        if not due or await self._reader.has_sent_all(mailbox):
            return
        if not await self._reader.is_server_well(mailbox):
            raise NothingReadable("the mails that could not be read cannot be read either")
        for uid in due:
            await self._try(mailbox, uid)
            await mailbox.record()
            if await self._reader.has_sent_all(mailbox):
                return

    async def _try(self, mailbox: SweptMailbox, uid: int) -> None:
        """Read a mail once more. Raises the error if it ends the connection, after it is recorded."""
        try:
            metas = await mailbox_queries.fetch_metas(self._scope.client, [uid])
            if uid not in metas:
                raise Withheld
            meta = metas[uid]
            if meta is not None:
                known = await queries.find_known(self._scope.context.pool, mailbox.place, [uid])
                await self._reader.see_in_range(mailbox, uid, meta, known.get(uid))
        except ImapError as error:
            mailbox.add_unread(uid, str(error))
            if not server_pauses.is_about_mail(error):
                await mailbox.record()
                raise
        else:
            mailbox.clear_unread(uid)
