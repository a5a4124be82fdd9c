"""The trial of watched folders with few users; `python -m trials.folders` runs it with 200."""

import pytest

from fixtures.engines import open_folder
from superimap.testing import WebhookSink
from tests.support import needs
from tests.support.dovecot import DOVECOT_PROGRAM
from trials.folders.servers import running
from trials.folders.trial import FolderTrial


@pytest.mark.parametrize("name", ["dovecot-notify"])
async def test_each_mail_in_five_folders_has_one_webhook_on_one_connection(name, world):
    if name.startswith("dovecot") and DOVECOT_PROGRAM is None:
        needs("Dovecot: apt-get install dovecot-imapd")
    world.overrides["folder_status_seconds"] = "1"
    with open_folder("folders-") as base:
        async with WebhookSink() as sink, running(name, base) as server:
            line = await FolderTrial(world, server, sink, seed=1).run(users=8, paced=4)

    assert line["broken"] == []
    assert (line["webhooks"], line["most_connections"]) == (line["mails"], 8)
