"""Statements about the users that an idler watches, and the statuses of their sessions."""

import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal

from asyncpg import Pool

from superimap.db import statements
from superimap.domain.events import ReasonCode, UserEventKind
from superimap.domain.folders import MailFolder
from superimap.domain.logins import LoginHistory
from superimap.domain.providers import ProviderKind
from superimap.domain.users import StatusChange, UserStatus, status_after

MAX_REASON_CHARACTERS = 500

_STATEMENTS = statements.load(__file__)
_LOAD_USER = _STATEMENTS["load_user"]
_RECORD_ESTABLISHED = _STATEMENTS["record_established"]
_RECORD_STATUS = _STATEMENTS["record_status"]
_RECORD_REFUSAL = _STATEMENTS["record_refusal"]

# `status_after` as a JSON object for each change: from each status to the next. It reaches SQL as a parameter.
_STATUS_AFTER = {
    change: json.dumps({status: status_after(status, change) for status in UserStatus})
    for change in StatusChange
}


@dataclass(frozen=True, slots=True)
class WatchedUser:
    """Facts about a user that its session needs; read again at each connect.

    `wait` is the number of seconds to wait before signing in, by PostgreSQL's clock; `history` tells of the logins
    before. `is_held`: the backlog of the partner is full. `has_tracers`: tracers may be sent to it. A provider's
    setting is None if it is the default (see `presets.Preset`). `listed_folders` are the selectors of the folders
    to watch, changed last at `listed_since`; `folder` is the one that is read, with such a list, and
    `has_other_folders` says that others are watched. Changes of mails since `change_events_since` are reported;
    None: no changes are.
    """

    user_id: int
    partner_id: int
    shard: int
    tag: str
    email: str | None
    login_username: str | None
    login_password: bytes | None
    oauth2_refresh_token: bytes | None
    connected_at: datetime
    version: int
    provider_code: str
    provider_kind: str
    imap_host: str
    imap_port: int
    imap_tls: Literal["tls", "starttls", "none"]
    idle_renew: int | None
    poll_by: Literal["noop", "status"] | None
    poll_seconds: int | None
    open_by: Literal["examine", "select"] | None
    logins_per_second: float | None
    folders: tuple[str, ...]
    listed_folders: tuple[str, ...]
    listed_since: datetime | None
    change_events_since: datetime | None
    has_own_server: bool
    wait: float
    history: LoginHistory
    is_held: bool = False
    has_tracers: bool = False
    folder: MailFolder | None = None
    has_other_folders: bool = False

    @property
    def account(self) -> str:
        """The login name, and after a tab the server if it is not the provider's own."""
        name = self.email if self.provider_kind == ProviderKind.OAUTH2 else self.login_username
        return (name or "").lower() + (f"\t{self.imap_host}" if self.has_own_server else "")


async def load(pool: Pool, user_id: int) -> WatchedUser | None:
    """Return the user with its provider; None if it should not be watched any more."""
    row = await pool.fetchrow(*_LOAD_USER.bind(user_id=user_id))
    if row is None:
        return None
    values = dict(row)
    folders = values.pop("folders") or ""
    listed = tuple(values.pop("listed_folders") or ())
    history = LoginHistory(*(values.pop(field.name) for field in fields(LoginHistory)))
    return WatchedUser(
        **values,
        folders=tuple(filter(None, map(str.strip, folders.split(",")))),
        listed_folders=listed,
        history=history,
    )


async def record_established(
    pool: Pool,
    user_id: int,
    *,
    version: int,
    is_new: bool,
    proven_ago: float = 0.0,
    lags: bool = False,
    reason: str | None = None,
) -> None:
    """Record that a session is established; with `is_new` that it has just signed in.

    Its mail server answered last `proven_ago` seconds ago, which is long ago if PostgreSQL was unreachable
    meanwhile. With `lags` the session has much to read before it has caught up. `reason` describes a peculiarity
    of the session. A stalled user has recovered, a user who had to sign in again is restored: each is recorded
    here, once. Writes nothing if the credentials have changed since.
    """
    change = StatusChange.CATCHING_UP if lags else StatusChange.CAUGHT_UP
    await pool.execute(
        *_RECORD_ESTABLISHED.bind(
            user_id=user_id,
            credentials_version=version,
            is_new=is_new,
            proven_ago=proven_ago,
            reason=reason and _storable(reason),
            status_after=_STATUS_AFTER[change],
            recovered_kind=UserEventKind.RECOVERED,
            restored_kind=UserEventKind.RESTORED,
        )
    )


async def record_status(
    pool: Pool,
    user_id: int,
    change: StatusChange,
    *,
    reason: str,
    version: int,
    retry_in: float | None = None,
    is_refusal: bool = False,
) -> None:
    """Record what became of the session, with a reason for people; `status_since` moves when the status does.

    No idler signs in within the next `retry_in` seconds, however often idlers start; None: no such wait.
    `is_refusal` counts a refused login. Writes nothing if the credentials have changed since.
    """
    await pool.execute(
        *_RECORD_STATUS.bind(
            user_id=user_id,
            credentials_version=version,
            status_after=_STATUS_AFTER[change],
            reason=_storable(reason),
            retry_in=retry_in,
            is_refusal=is_refusal,
        )
    )


async def record_refusal(
    pool: Pool, user_id: int, *, code: ReasonCode, reason: str, version: int, retry_in: float
) -> bool:
    """Record that the credentials are refused and only the person can fix it; return whether that is news.

    The partner is notified the first time, and again only after the user has signed in or other credentials have
    come.
    """
    recorded: int = await pool.fetchval(
        *_RECORD_REFUSAL.bind(
            user_id=user_id,
            credentials_version=version,
            status_after=_STATUS_AFTER[StatusChange.LOGIN_REFUSED],
            reason=_storable(reason),
            retry_in=retry_in,
            event_kind=UserEventKind.REAUTH_REQUIRED,
            code=code,
        )
    )
    return bool(recorded)


def _storable(reason: str) -> str:
    """Return the start of a reason without NUL characters, which PostgreSQL does not store."""
    return reason.replace("\0", "")[:MAX_REASON_CHARACTERS]
