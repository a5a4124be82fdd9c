"""Responses that a command keeps: nothing for the garbage collector to visit, whatever the server sends."""

import gc

import pytest

from superimap.imap.command import Command
from superimap.imap.framing import Framer
from superimap.imap.types import Limits

LINES = {
    "folders": b'* LIST () "/" "folder"\r\n',
    "folders named by literals": b'* LIST () "/" {6}\r\nfolder\r\n',
    "empty literals": b"* 1 FETCH (X {0}\r\n)\r\n",
    "mails": b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc FLAGS ())\r\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_kept_responses_are_not_visited_by_the_garbage_collector(line):
    framer, command = Framer(Limits()), Command("FETCH", "A1", wanted="FETCH")
    gc.collect()
    before = len(gc.get_objects())

    for response in framer.feed(line * 500):
        command.collect(response, Limits())

    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert len(command.responses) == 500


def test_kept_responses_are_what_was_received():
    framer, command = Framer(Limits()), Command("FETCH", "A1", wanted="FETCH")
    received = list(framer.feed(b"".join(LINES.values())))
    assert not command.responses

    for response in received:
        command.collect(response, Limits())

    assert list(command.responses) == received
    assert command.responses[1] == received[1]
    assert list(command.responses[1:3]) == received[1:3]
