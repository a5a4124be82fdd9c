"""Statements that create users: the connection, the rows of the users, and who has their tags already."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from asyncpg import Connection, IntegrityConstraintViolationError

from superimap.core.crypto import Vault
from superimap.db import statements
from superimap.db.accounts.constraints import (
    CHANGED_MEANWHILE,
    EMAIL_TAKEN,
    TAG_TAKEN,
    ValueTaken,
    raise_conflict,
)
from superimap.db.accounts.link_usage import TryLimit
from superimap.db.accounts.user_changes import as_stored, initial_status
from superimap.db.errors import Conflict
from superimap.domain.audit import Actor, AuditAction, recorded_details
from superimap.domain.quotas import Quota
from superimap.domain.shards import USERS_CHANNEL

_STATEMENTS = statements.load(__file__)
_FIND_TARGET = _STATEMENTS["find_target"]
_DRAW_IDS = _STATEMENTS["draw_ids"]
_INSERT_USERS = _STATEMENTS["insert_users"]
_FIND_TAKEN = _STATEMENTS["find_taken"]

_STORED_FIELDS = (
    "tag", "email", "login_username", "login_password", "imap_host", "imap_port", "imap_tls",
    "oauth2_refresh_token", "sign_in_email", "history_days", "change_events",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class UserTarget:
    """A connection that users are added to, with what matters of its provider, and ids for the users."""

    connection_id: int
    partner_id: int
    code: str
    kind: str
    imap_host: str
    host_by_user: bool
    is_app_only: bool
    user_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class UserToCreate:
    """A user to create: its place among those that were sent, its checked values, and what follows from them."""

    place: int
    id: int
    values: dict[str, Any] = field(repr=False)
    is_complete: bool
    limits: Collection[TryLimit]

    @property
    def is_archived(self) -> bool:
        """Whether the user is archived from the start."""
        return bool(self.values.get("archived", False))

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """The quotas of which the user needs one each, in the order in which they are reserved."""
        if self.is_archived:
            return ()
        return (Quota.USERS, Quota.SESSIONS) if self.is_complete else (Quota.USERS,)

    @property
    def status(self) -> str:
        """The first status of the user."""
        return initial_status(archived=self.is_archived, is_connected=self.is_complete)


@dataclass(frozen=True, slots=True)
class ShownUser:
    """A user as the API shows it."""

    id: int
    tag: str
    email: str | None
    imap_host: str | None
    imap_port: int | None
    imap_tls: str | None
    archived: bool
    status: str
    connected_at: datetime | None
    status_since: datetime
    status_reason: str | None = None
    last_login_at: datetime | None = None
    last_email_at: datetime | None = None
    last_proven_alive_at: datetime | None = None
    sign_in_email: str | None = None
    history_days: int | None = None
    folders: list[str] | None = None
    change_events: bool | None = None


class UserExists(ValueTaken):
    """A live user of the connection has the tag: `user`."""

    def __init__(self, user: ShownUser) -> None:
        super().__init__("tag", TAG_TAKEN)
        self.user = user


class Inserted(NamedTuple):
    """Result of `insert`: the new users by place, and whether there was room for all users and all sessions."""

    created: dict[int, ShownUser]
    has_users: bool
    has_sessions: bool


async def find_target(db: Connection, partner_id: int, code: str, *, count: int) -> UserTarget | None:
    """Return the partner's connection to this provider, with ids for `count` users; None if there is none."""
    if "\0" in code:  # PostgreSQL's text cannot hold NUL, so no code contains it
        return None
    row = await db.fetchrow(*_FIND_TARGET.bind(partner_id=partner_id, code=code.upper(), count=count))
    return None if row is None else UserTarget(**row)


async def draw_ids(db: Connection, count: int) -> list[int]:
    """Return ids for new users."""
    return [row[0] for row in await db.fetch(*_DRAW_IDS.bind(count=count))]


async def insert(
    db: Connection,
    vault: Vault,
    target: UserTarget,
    users: Sequence[UserToCreate],
    *,
    actor: Actor,
    wanted: Mapping[Quota, int],
    defaults: Mapping[Quota, int],
) -> Inserted:
    """Create the users whose tags and emails are free, if there is room for `wanted`. Raises NotFound."""
    try:
        rows = await db.fetch(
            *_INSERT_USERS.bind(
                partner_id=target.partner_id,
                connection_id=target.connection_id,
                users=wanted[Quota.USERS],
                sessions=wanted[Quota.SESSIONS],
                max_users=defaults[Quota.USERS],
                max_sessions=defaults[Quota.SESSIONS],
                actor_kind=actor.kind.value,
                actor=actor.name,
                action=AuditAction.USER_CREATE.value,
                channel=USERS_CHANNEL,
                **_columns(vault, target, users),
            )
        )
    except IntegrityConstraintViolationError as error:
        raise_conflict(error)
    by_id = {each.id: each for each in users}
    created = {
        by_id[row["id"]].place: _shown(by_id[row["id"]], row["connected_at"], row["status_since"])
        for row in rows
        if row["id"] is not None
    }
    return Inserted(created, rows[0]["has_users"], rows[0]["has_sessions"])


async def find_conflicts(
    db: Connection, target: UserTarget, users: Sequence[UserToCreate]
) -> dict[int, Conflict]:
    """Return by place why these users could not be inserted."""
    rows = await db.fetch(
        *_FIND_TAKEN.bind(
            connection_id=target.connection_id,
            tags=[each.values["tag"] for each in users],
            emails=[each.values.get("email") for each in users],
        )
    )
    found: dict[int, Conflict] = {}
    for place, *shown, is_email_taken in rows:
        if shown[0] is not None:
            error: Conflict = UserExists(ShownUser(*shown))
        else:
            error = ValueTaken("email", EMAIL_TAKEN) if is_email_taken else Conflict(CHANGED_MEANWHILE)
        found[users[place].place] = error
    return found


def _columns(vault: Vault, target: UserTarget, users: Sequence[UserToCreate]) -> dict[str, list[Any]]:
    """Return the parameters that are arrays: a column of the new rows each."""
    stored = [as_stored(vault, target.partner_id, each.id, each.values) for each in users]
    return {
        "id": [each.id for each in users],
        **{name: [values.get(name) for values in stored] for name in _STORED_FIELDS},
        "folders": [json.dumps(values.get("folders")) for values in stored],
        "enable_tracer": [bool(each.values.get("enable_tracer")) for each in users],
        "archived": [each.is_archived for each in users],
        "is_connected": [each.is_complete for each in users],
        "status": [each.status for each in users],
        "fields": [f"{{{','.join(sorted(each.values))}}}" for each in users],
        "details": [_details(target, each) for each in users],
    }


def _details(target: UserTarget, user: UserToCreate) -> str:
    return json.dumps(recorded_details({**user.values, "imap_provider_code": target.code}))


def _shown(user: UserToCreate, connected_at: datetime | None, status_since: datetime) -> ShownUser:
    values = user.values
    return ShownUser(
        id=user.id,
        tag=values["tag"],
        email=values.get("email"),
        imap_host=values.get("imap_host"),
        imap_port=values.get("imap_port"),
        imap_tls=values.get("imap_tls"),
        archived=user.is_archived,
        status=user.status,
        connected_at=connected_at,
        status_since=status_since,
        sign_in_email=values.get("sign_in_email"),
        history_days=values.get("history_days"),
        folders=values.get("folders"),
        change_events=values.get("change_events"),
    )
