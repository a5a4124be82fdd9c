"""The command `superimap messages`: the outcome of each mail and its reason."""

import asyncio

import asyncpg
import pytest

from superimap.cli import messages as command
from superimap.db.monitoring import messages

WHERE = ("acme", "PLAIN", "ada")


@pytest.fixture
def installed(superimap, database_url):
    """The user ada of the partner acme, with three recorded mails."""
    superimap("migrate")
    superimap("partners", "create", "acme")
    superimap("connections", "create", "acme", "PLAIN")
    superimap("users", "create", *WHERE)

    async def see() -> None:
        db = await asyncpg.connect(database_url)
        await db.execute("""
            INSERT INTO mailboxes (partner_id, user_id, account, name, uid_validity)
                SELECT partner_id, id, 'ada', 'INBOX', 1 FROM users;
            INSERT INTO messages (id, partner_id, user_id, mailbox_id, uid_validity, uid, size, sha1, outcome,
                                  detail, message_id, duplicate_of)
                SELECT v.id, m.partner_id, user_id, m.id, 1, uid, size, '\\xaa', outcome, detail, mid, of
                FROM mailboxes m, (VALUES
                    (1, 7, 512, 'no_webhook', NULL, '<7@x>', NULL), (2, 8, 512, 'duplicate', NULL, '<7@x>', 1),
                    (3, 9, 2000000, 'too_big', '2000000 bytes; MAX_EMAIL_SIZE is 1048576', E'<\\x1b[2J@x>', NULL)
                ) v(id, uid, size, outcome, detail, mid, of);
        """)
        await db.close()

    asyncio.run(see())


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_table_explains_each_mail(superimap, installed, environment, columns):
    environment.setenv("COLUMNS", columns)
    said = superimap("messages", *WHERE).stdout

    assert all(len(line) <= int(columns) for line in said.splitlines())
    words = " ".join(said.split())
    assert "too_big" in words and "INBOX 9, 2000000" in words
    if columns == "200":
        assert "2000000 bytes; MAX_EMAIL_SIZE is 1048576" in said
        assert "byte for byte the same as UID 7 of INBOX (message 1)" in said
        assert "the partner had no new_mail URL when it was seen" in said
    assert "\x1b" not in said, "the sender of the mail controls the terminal"


def test_json_has_every_field(ask, installed):
    big, copy, first = ask("messages", *WHERE)

    assert [each["id"] for each in (big, copy, first)] == [3, 2, 1]
    assert big["outcome"] == "too_big"
    assert copy["duplicate_of"]["uid"] == 7
    assert first["delivery"] is None


def test_messages_are_filtered_and_paged(superimap, ask, installed):
    assert [each["id"] for each in ask("messages", *WHERE, "--outcome", "duplicate")] == [2]
    assert [each["id"] for each in ask("messages", *WHERE, "--before", "2")] == [1]
    assert "--before 3 lists the earlier ones" in superimap("messages", *WHERE, "--limit", "1").stdout


def test_a_mail_is_read_again_on_request(superimap, ask, installed):
    asked_again = ask("messages", *WHERE, "--retry", "3")[0]

    assert (asked_again["id"], asked_again["outcome"]) == (3, "deferred")
    assert asked_again["reason"] == "it is read again at the partner's request"
    refused = superimap("messages", *WHERE, "--retry", "2", code=1).stderr
    assert "Mail 2 cannot be read again" in refused and "duplicate" in refused
    assert "Message not found" in superimap("messages", *WHERE, "--retry", "9", code=1).stderr


def test_missing_mails_users_and_outcomes_are_reported(superimap, installed):
    superimap("users", "create", "acme", "PLAIN", "bob")

    assert "No matching mail was seen" in superimap("messages", "acme", "PLAIN", "bob").stdout
    assert "no user 'eve'" in superimap("messages", "acme", "PLAIN", "eve", code=1).stderr
    refused = superimap("messages", *WHERE, "--outcome", "lost", code=1).stderr
    assert "no outcome 'lost'" in refused and "too_big" in refused
    superimap("messages", *WHERE, "--limit", "201", code=2)


def test_the_limits_of_the_command_and_of_the_query_are_equal():
    assert command.MAX_MESSAGES == messages.MAX_MESSAGES
