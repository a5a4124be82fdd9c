"""The trial of `make servers` on Dovecot, with few mails."""

import pytest

from fixtures.engines import open_folder
from fixtures.world import World
from tests.support import needs
from trials.servers.__main__ import try_server
from trials.servers.trial import FEW


@pytest.mark.slow
async def test_each_mail_on_dovecot_has_one_webhook_and_stays_unread(world: World):
    with open_folder("superimap-servers-") as folder:
        line = await try_server("dovecot", world, folder, FEW)

    if "skipped" in line:
        needs(line["skipped"])
    assert line["broken"] == []
    assert line["mails"] == 40
