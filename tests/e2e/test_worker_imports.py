"""Modules of running workers: neither SQLAlchemy nor anything else that only the API and the commands need."""

import re

from fixtures.world import World
from superimap.testing import ImapServer, WebhookSink
from tests.support.mails import Ledger, mail
from tests.support.processes import Process, environment, started

# PSS of a worker without users: 98 MiB with SQLAlchemy and Alembic, less than 60 MiB without.
NOT_IN_WORKERS = {
    "sqlalchemy", "greenlet", "alembic", "mako", "fastapi", "starlette", "uvicorn", "jinja2", "authlib",
    "superimap.db.models", "superimap.db.engine",
}  # fmt: skip
NOT_IN_THE_DISPATCHER = {"imapclient", "aioimaplib", "superimap.imap"}


def imported(process: Process) -> set[str]:
    """Every module that the process has imported so far, with the packages it is in."""
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", process.output, re.MULTILINE)
    return {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2, 3)}


async def test_running_workers_have_not_imported_sqlalchemy(
    world: World, imap: ImapServer, sink: WebhookSink
):
    ledger = Ledger()
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    imap.add_account("joe", "pw")
    await world.user(partner, "joe", login="joe", password="pw")
    env = environment(world, PYTHONPROFILEIMPORTTIME="1")

    async with started("idler", env=env) as idler, started("dispatcher", env=env) as dispatcher:
        ledger.note(mail(1), path="/hook", tag="joe")
        imap.deliver("joe", mail(1))
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)

    assert {"asyncpg", "superimap.db.watching", "superimap.idler"} <= imported(idler)
    assert {"asyncpg", "superimap.db.delivery", "superimap.dispatcher"} <= imported(dispatcher)
    assert not imported(idler) & NOT_IN_WORKERS
    assert not imported(dispatcher) & (NOT_IN_WORKERS | NOT_IN_THE_DISPATCHER)
