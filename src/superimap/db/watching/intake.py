"""The heart: messages recorded, webhooks owed and the cursor moved, in one statement under the fence."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from asyncpg import Pool

from superimap.core.errors import SuperImapError


@dataclass(frozen=True, slots=True)
class Fence:
    """What an idler must still own for its writes to count."""

    shard: int
    owner: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a mailbox stands: every UID up to `last_uid` of this UIDVALIDITY is accounted for."""

    uid_validity: int | None
    last_uid: int | None
    last_internal_date: datetime | None


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """A watched folder's row, as seen by a session that signed in with credentials of this `version`."""

    id: int
    user_id: int
    partner_id: int
    version: int
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Seen:
    """A mail to record. `delivery_id` and `content` (sealed) are set where a webhook is owed: the mail, or, where
    it is too big, an event about it.

    `twin_uid` is the UID of the same mail in the same batch, `token_digest` that of a token that we signed.
    """

    uid: int
    internal_date: datetime | None
    size: int
    outcome: str
    detail: str | None = None
    sha1: bytes | None = None
    fingerprint: bytes | None = None
    message_id: str | None = None
    delivery_id: UUID | None = None
    content: bytes | None = None
    twin_uid: int | None = None
    token_digest: bytes | None = None


COLUMNS = tuple(field.name for field in fields(Seen))


class Fenced(SuperImapError):
    """The shard, the user or the cursor is not what this session believes it to be: nothing was written."""


async def mailbox(
    pool: Pool, *, user_id: int, partner_id: int, version: int, account: str, name: str, fence: Fence
) -> MailboxRow:
    """The row of a folder of the user's mail account, made on the first visit.

    `version` is that of the credentials with which the session signed in to `account`.

    Raises Fenced.
    A new folder goes on by date where the account's last one stood: mostly it is the same one, renamed, or the
    same mail at another server.
    """
    sql = """
        WITH fence AS (
            SELECT 1 FROM shards WHERE shard = $4 AND owner = $5 AND epoch = $6 FOR KEY SHARE
        ), made AS (
            INSERT INTO mailboxes (user_id, partner_id, name, account, last_internal_date)
            SELECT u.id, u.partner_id, $3, $7,
                   (SELECT max(last_internal_date) FROM mailboxes
                    WHERE user_id = u.id AND split_part(account, E'\\t', 1) = split_part($7, E'\\t', 1))
            FROM users u, fence WHERE u.id = $1 AND u.partner_id = $2
            ON CONFLICT (user_id, account, name) DO UPDATE SET name = excluded.name
            RETURNING id, uid_validity, last_uid, last_internal_date
        )
        SELECT * FROM made
    """
    row = await pool.fetchrow(sql, user_id, partner_id, name, fence.shard, fence.owner, fence.epoch, account)
    if row is None:
        raise Fenced
    return MailboxRow(row[0], user_id, partner_id, version, Cursor(*row[1:]))


# `box` asks for the fence before anything is written; everything else asks for `box`. It moves the cursor from
# where this session believes it to be, or finds it moved already: the answer to an earlier try was lost.
# `earlier` is the same mail: the same bytes, or the same fingerprint and INTERNALDATE under another numbering;
# not under the same one, where whoever knows of a mail that is coming could send one like it first.
# `first_id` is the one that was owed: a copy of a copy leads there too; what gave no webhook has no copies.
# `detected` counts a tracer once; mail and tracer are marked together, or neither is.
# `owed` is a new mail, or the event that it was too big.
_RECORD = """
    WITH fence AS (
        SELECT 1 FROM shards WHERE shard = $1 AND owner = $2 AND epoch = $3 FOR KEY SHARE
    ), watched AS (
        SELECT u.id, u.enable_tracer FROM users u, fence
        WHERE u.id = $5 AND NOT u.archived AND u.credentials_version = $25
    ), box AS (
        UPDATE mailboxes m SET uid_validity = $7, last_uid = $8,
            last_internal_date = greatest(m.last_internal_date, $9)
        FROM watched
        WHERE m.id = $4 AND m.user_id = watched.id AND m.partner_id = $6
          AND ((m.uid_validity, m.last_uid) IS NOT DISTINCT FROM ($22::bigint, $23::bigint)
               OR (m.uid_validity, m.last_uid) IS NOT DISTINCT FROM ($7::bigint, $8::bigint))
        RETURNING m.id
    ), endpoint AS (
        SELECT max(id) FILTER (WHERE kind = 'new_mail') AS id, max(id) FILTER (WHERE kind = 'events') AS events_id
        FROM endpoints WHERE partner_id = $6 AND url IS NOT NULL
    ), incoming AS (
        SELECT nextval((SELECT pg_get_serial_sequence('messages', 'id')::regclass)) AS id, judged.*
        FROM (
            SELECT i.*, earlier.id AS earlier_id, endpoint.id AS endpoint_id, endpoint.events_id
            FROM box
            CROSS JOIN unnest($10::bigint[], $11::timestamptz[], $12::bigint[], $13::text[], $14::text[],
                              $15::bytea[], $16::bytea[], $17::text[], $18::uuid[], $19::bytea[],
                              $20::bigint[], $21::bytea[])
                AS i(uid, internal_date, size, outcome, detail, sha1, fingerprint, message_id,
                     delivery_id, content, twin_uid, token_digest)
            CROSS JOIN endpoint
            LEFT JOIN LATERAL (
                SELECT coalesce(e.duplicate_of, e.id) AS id FROM messages e
                WHERE e.user_id = $5 AND e.outcome IN ('delivered', 'duplicate', 'tracer')
                  AND (e.sha1 = i.sha1
                       OR e.fingerprint = i.fingerprint AND e.internal_date = i.internal_date
                          AND (e.mailbox_id, e.uid_validity) <> ($4, $24))
                  AND i.outcome = 'delivered'
                LIMIT 1
            ) earlier ON true
            ORDER BY i.uid
        ) judged
    ), detected AS (
        UPDATE tracers t SET detected_at = now() FROM incoming i, watched
        WHERE watched.enable_tracer AND t.user_id = $5 AND t.token_digest = i.token_digest
          AND t.detected_at IS NULL
        RETURNING t.token_digest
    ), recorded AS (
        INSERT INTO messages (id, partner_id, user_id, mailbox_id, uid_validity, uid, internal_date, size,
                              outcome, detail, sha1, fingerprint, message_id, duplicate_of)
        SELECT i.id, $6, $5, $4, $24, i.uid, i.internal_date, i.size,
               CASE WHEN i.outcome NOT IN ('delivered', 'duplicate') THEN i.outcome
                    WHEN i.first_id IS NOT NULL THEN 'duplicate'
                    WHEN detected.token_digest IS NOT NULL THEN 'tracer'
                    WHEN i.endpoint_id IS NULL THEN 'no_webhook'
                    ELSE 'delivered' END,
               i.detail, i.sha1, i.fingerprint, i.message_id, i.first_id
        FROM (
            SELECT i.*, coalesce(i.earlier_id, twin.earlier_id,
                                 CASE WHEN i.endpoint_id IS NOT NULL THEN twin.id END) AS first_id
            FROM incoming i LEFT JOIN incoming twin ON twin.uid = i.twin_uid
        ) i LEFT JOIN detected ON detected.token_digest = i.token_digest
        ON CONFLICT (mailbox_id, uid_validity, uid) DO NOTHING
        RETURNING id, uid, outcome
    ), owed AS (
        INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind, content)
        SELECT i.delivery_id, $6, CASE r.outcome WHEN 'delivered' THEN i.endpoint_id ELSE i.events_id END,
               $5, r.id, CASE r.outcome WHEN 'delivered' THEN 'new_mail' ELSE 'events' END, i.content
        FROM recorded r JOIN incoming i USING (uid)
        WHERE r.outcome = 'delivered'
           OR r.outcome = 'too_big' AND i.events_id IS NOT NULL AND i.delivery_id IS NOT NULL
        RETURNING endpoint_id, kind
    ), marked AS (
        UPDATE users SET last_email_at = now(), last_proven_alive_at = now()
        WHERE id = $5 AND EXISTS (SELECT 1 FROM owed WHERE kind = 'new_mail')
    )
    SELECT (SELECT count(*) FROM box) AS moved, ARRAY(SELECT DISTINCT endpoint_id FROM owed) AS endpoints,
           ARRAY(SELECT outcome FROM recorded) AS outcomes
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of a batch: the endpoints to ring, and an outcome for each new row."""

    endpoints: tuple[int, ...]
    outcomes: tuple[str, ...]


async def record(
    pool: Pool, box: MailboxRow, fence: Fence, cursor: Cursor, seen: Sequence[Seen], *, uid_validity: int
) -> Recorded:
    """Record `seen`, whose UIDs are of `uid_validity`, and move the cursor, all or nothing.

    Raises Fenced if the ownership is lost, the user is archived or gone, or the cursor is not at
    `box.cursor`: then nothing was written. A mail recorded before is passed over.
    """
    columns = [[getattr(mail, name) for mail in seen] for name in COLUMNS]
    row = await pool.fetchrow(
        _RECORD,
        fence.shard,
        fence.owner,
        fence.epoch,
        box.id,
        box.user_id,
        box.partner_id,
        cursor.uid_validity,
        cursor.last_uid,
        cursor.last_internal_date,
        *columns,
        box.cursor.uid_validity,
        box.cursor.last_uid,
        uid_validity,
        box.version,
    )
    if not row["moved"]:
        raise Fenced
    return Recorded(tuple(row["endpoints"]), tuple(row["outcomes"]))
