"""The intake statement with parts replaced, for controls that switch a guard off."""

from __future__ import annotations

import re
from collections.abc import Iterable

from superimap.db.statements import Statement
from superimap.db.watching import intake

_ROWS = re.search(
    r" *ON CONFLICT \(mailbox_id, uid_validity, uid\).*?\n(?= *RETURNING)", intake._RECORD_MAILS.sql, re.S
)
assert _ROWS is not None
UNIQUE_ROWS = (_ROWS[0], " WHERE :reopened::text[] IS NOT NULL\n")  # each parameter needs a type
"""The replacement that inserts a row for a mail that has one."""


def intake_with(replacements: Iterable[tuple[str, str]]) -> Statement:
    """Replace parts of the statement `record_mails`; parameters are written as in its .sql file (`:shard`).

    Fails if a part is missing, because the control would then prove nothing.
    """
    statement = intake._RECORD_MAILS
    number = {name: f"${at}" for at, name in enumerate(statement.parameters, 1)}

    def numbered(text: str) -> str:
        return re.sub(r"(?<!:):(\w+)", lambda found: number[found[1]], text)

    sql = statement.sql
    for part, instead in replacements:
        assert numbered(part) in sql, f"the statement no longer contains {part!r}"
        sql = sql.replace(numbered(part), numbered(instead))
    return Statement(statement.name, sql, statement.parameters)
