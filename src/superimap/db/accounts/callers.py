"""Look-up of API keys: the partner that calls, the rights of its key, and the last use of the key."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import constant_time_equal, digest
from superimap.core.setting_types import parse_networks
from superimap.db.accounts.partner_keys import is_unexpired
from superimap.db.models import ApiKey, PartnerQuota
from superimap.domain.api_keys import KeyRights, Scope
from superimap.domain.quotas import Quota

USE_INTERVAL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class CallingPartner:
    """The partner that calls."""

    id: int


@dataclass(frozen=True, slots=True)
class UsedKey:
    """The API key with which a partner calls."""

    id: int
    scopes: Sequence[str]
    networks: Sequence[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """A partner, the API key with which it calls, and the API rate that an operator has set for it.

    The key is valid for `valid_seconds` by PostgreSQL's clock, if it was not changed.
    """

    partner: CallingPartner
    key: UsedKey
    requests_per_second: int | None
    valid_seconds: float
    rights: KeyRights


def rights_of(key: ApiKey | UsedKey) -> KeyRights:
    """Return the rights of a key."""
    networks: Any = parse_networks(",".join(key.networks))
    return KeyRights(frozenset(Scope(name) for name in key.scopes), networks, key.expires_at)


async def find_caller(db: AsyncSession, api_key: str) -> Caller | None:
    """Return the partner that owns this API key, and the key; None if it is unknown or expired."""
    sought = digest(api_key)
    statement = (
        select(
            ApiKey.partner_id,
            ApiKey.digest,
            PartnerQuota.maximum,
            func.extract("epoch", ApiKey.expires_at - func.now()),
            ApiKey.id,
            ApiKey.scopes,
            ApiKey.networks,
            ApiKey.expires_at,
        )
        .outerjoin(
            PartnerQuota,
            and_(
                PartnerQuota.partner_id == ApiKey.partner_id,
                PartnerQuota.quota == Quota.REQUESTS_PER_SECOND.value,
            ),
        )
        .where(ApiKey.digest == sought, is_unexpired(ApiKey))
    )
    row = (await db.execute(statement)).one_or_none()
    if row is None or not constant_time_equal(row[1], sought):
        return None
    partner_id, _, per_second, seconds, key_id, scopes, networks, expires_at = row
    key = UsedKey(key_id, scopes, networks, expires_at)
    valid_seconds = math.inf if seconds is None else float(seconds)
    return Caller(CallingPartner(partner_id), key, per_second, valid_seconds, rights_of(key))


async def record_use(db: AsyncSession, api_key: str) -> None:
    """Store that this key is used now, at most once in USE_INTERVAL_SECONDS."""
    interval = func.make_interval(0, 0, 0, 0, 0, 0, USE_INTERVAL_SECONDS)
    is_stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - interval)
    mine = (ApiKey.digest == digest(api_key), is_unexpired(ApiKey), is_stale)
    await db.execute(sql_update(ApiKey).where(*mine).values(last_used_at=func.now()))
