"""Watched folders: which ones a list selects, which counts are news, and how long a broken one is left out."""

from datetime import UTC, datetime

import pytest

from superimap.db.watching.folders import FolderRow
from superimap.domain.folders import MAX_WATCHED_FOLDERS
from superimap.idler.folder_matches import mail_folder, match_folders
from superimap.idler.folder_state import FolderState
from superimap.idler.folder_troubles import (
    FIRST_PERIOD_SECONDS,
    UNPROVEN_PERIOD_SECONDS,
    FolderTroubles,
)
from superimap.imap.folders import named
from superimap.imap.types import Folder


def folder(name, *attributes, delimiter="/"):
    return Folder(name, frozenset(attributes), delimiter, named(name).raw)


LISTED = [
    folder("INBOX"), folder("Sent", "\\Sent"), folder("Junk", "\\Junk"), folder("All", "\\All"),
    folder("Projects", "\\Noselect"), folder("Projects/a"), folder("Projects/a/b"), folder("Größe"),
    folder("INBOX.Work.x", delimiter="."), folder("Archiv", "\\Archive"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        (["INBOX"], ["INBOX"]),
        (["Projects/*"], ["Projects/a", "Projects/a/b"]),
        (["Projects/*/b", "inbox"], ["Projects/a/b", "INBOX"]),
        (["Work/*"], ["INBOX.Work.x"]),
        (["\\sent", "\\Archive"], ["Sent", "Archiv"]),
        (["*"], ["INBOX", "Archiv", "Größe", "INBOX.Work.x", "Projects/a", "Projects/a/b"]),
        (["Sent", "Pro*"], ["Sent", "Projects/a", "Projects/a/b"]),
        (["Größe", "INBOX", "*"], ["Größe", "INBOX", "Archiv", "INBOX.Work.x", "Projects/a", "Projects/a/b"]),
        (["*a*a"], []),
    ],
)
def test_selectors_select_folders_in_their_order_each_once(selectors, names):
    assert [each.name for each in match_folders(LISTED, selectors).folders] == names


def test_what_is_not_watched_is_said():
    many = [folder(f"f{number:03}") for number in range(MAX_WATCHED_FOLDERS + 7)]

    matches = match_folders([*LISTED, *many], ["INBOX", "Nowhere", "Projects", "\\Trash", "f*"])

    assert len(matches.folders) == MAX_WATCHED_FOLDERS
    assert matches.reason() == (
        "no folder: Nowhere, \\Trash; not to be opened: Projects; 8 more folders are not watched; the limit is 50"
    )
    assert match_folders(LISTED, ["INBOX"]).reason() is None


def test_a_pattern_of_many_wildcards_takes_linear_time():
    """A regular expression would take minutes."""
    names = [folder("a" * 200 + str(number)) for number in range(200)]

    assert match_folders(names, ["*a" * 100 + "*b"]).folders == ()


def test_webhooks_name_the_special_use():
    assert [mail_folder(each) for each in LISTED[:2]] == [("INBOX", None), ("Sent", "\\Sent")]


def known(last_uid=5, validity=7):
    return FolderState(LISTED[0], FolderRow(1, "INBOX", datetime.now(UTC), validity, last_uid))


@pytest.mark.parametrize(
    ("counts", "is_changed"),
    [
        ({"UIDNEXT": 6, "UIDVALIDITY": 7, "MESSAGES": 5}, False),
        ({"UIDNEXT": 6, "MESSAGES": 0}, False),  # NOTIFY names no UIDVALIDITY
        ({"UIDNEXT": 7, "UIDVALIDITY": 7, "MESSAGES": 5}, True),  # a mail came, or came and went
        ({"UIDNEXT": 2, "UIDVALIDITY": 7, "MESSAGES": 5}, True),  # wrong, or the UIDs began again
        ({"UIDNEXT": 6, "UIDVALIDITY": 8, "MESSAGES": 5}, True),
        ({"UIDVALIDITY": 7, "MESSAGES": 5}, True),
        (None, True),
    ],
)
def test_counts_that_tell_of_news_or_too_little_cause_a_visit(counts, is_changed):
    state = known()

    state.take(counts)

    assert state.is_changed is is_changed


def test_a_folder_without_a_cursor_is_visited():
    state = known(last_uid=None)

    state.take({"UIDNEXT": 1, "UIDVALIDITY": 7, "MESSAGES": 0})

    assert state.is_changed


def test_a_mail_that_a_frozen_uidnext_hides_shows_in_the_number_of_mails():
    state = known()

    state.take({"UIDNEXT": 6, "UIDVALIDITY": 7, "MESSAGES": 5})
    assert not state.is_changed
    state.take({"UIDNEXT": 6, "UIDVALIDITY": 7, "MESSAGES": 6})

    assert state.is_changed


def test_a_folder_in_which_three_sessions_ended_is_left_out_longer_each_time():
    troubles = FolderTroubles()
    for _ in range(2):
        troubles.fail("x", None, "closed", now=100.0)
        assert troubles.left_out("x", 100.0) is None
        troubles.succeed("INBOX")
    troubles.fail("x", None, "closed", now=100.0)

    assert troubles.left_out("x", 100.0) == "closed"
    assert troubles.seconds_left(100.0) == FIRST_PERIOD_SECONDS
    troubles.succeed("INBOX")
    troubles.fail("x", None, "closed", now=500.0)
    assert troubles.seconds_left(500.0) == 2 * FIRST_PERIOD_SECONDS
    troubles.succeed("x")
    assert (troubles.left_out("x", 500.0), troubles.seconds_left(500.0)) == (None, None)


def test_an_outage_leaves_folders_out_only_for_so_long_that_another_one_is_tried():
    """Without another folder that was read in between, the server may be at fault."""
    troubles = FolderTroubles()
    for _ in range(50):
        troubles.fail("x", None, "closed", now=100.0)

    assert troubles.seconds_left(100.0) == UNPROVEN_PERIOD_SECONDS
