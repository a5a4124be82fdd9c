"""Deliveries of the API's partners, in whatever state a test wants them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.core.crypto import Place, Vault
from superimap.core.ids import time_ordered
from superimap.webhooks.signing import webhook_id

CONTENT = b'{"sha1":"' + b"0" * 40 + b'","user_tag":"ann","rfc822":"x"}'


@dataclass(frozen=True, slots=True)
class Owing:
    """Makes a partner's users, endpoints and deliveries, right in the database."""

    sessionmaker: async_sessionmaker[AsyncSession]
    vault: Vault
    partner: str = "acme"

    async def value(self, sql: str, **values: object) -> object:
        """The first value that a statement gives."""
        async with self.sessionmaker.begin() as db:
            row = (await db.execute(text(sql), values)).first()
        return row[0] if row else None

    async def endpoint(self, url: str | None, kind: str = "new_mail") -> int:
        """Where webhooks of this kind go."""
        sql = (
            "UPDATE endpoints SET url = :url WHERE kind = :kind AND partner_id = "
            "(SELECT id FROM partners WHERE name = :partner) RETURNING id"
        )
        return int(str(await self.value(sql, url=url, kind=kind, partner=self.partner)))

    async def user(self, tag: str) -> None:
        """A user of the partner's connection to PLAIN, which is made if need be."""
        await self.value(
            "INSERT INTO connections (partner_id, provider_id) SELECT p.id, v.id FROM partners p, providers v "
            "WHERE p.name = :partner AND v.code = 'PLAIN' ON CONFLICT DO NOTHING RETURNING id",
            partner=self.partner,
        )
        await self.value(
            "INSERT INTO users (partner_id, connection_id, tag) SELECT c.partner_id, c.id, :tag "
            "FROM connections c JOIN partners p ON p.id = c.partner_id JOIN providers v ON v.id = c.provider_id "
            "WHERE p.name = :partner AND v.code = 'PLAIN' RETURNING id",
            partner=self.partner,
            tag=tag,
        )

    async def deliveries(
        self,
        count: int = 1,
        *,
        tag: str = "ann",
        state: str = "failed",
        kind: str = "new_mail",
        has_content: bool = True,
        attempts: int = 17,
        created_at: datetime | None = None,
    ) -> list[str]:
        """Deliveries about the user of this tag, oldest first; their webhook-ids."""
        return [
            await self._delivery(
                time_ordered(),
                tag=tag,
                state=state,
                kind=kind,
                has_content=has_content,
                attempts=attempts,
                at=created_at,
            )
            for _ in range(count)
            if not await asyncio.sleep(0.002)  # ids are in order by the millisecond
        ]

    async def _delivery(
        self,
        id_: UUID,
        *,
        tag: str,
        state: str,
        kind: str,
        has_content: bool,
        attempts: int,
        at: datetime | None,
    ) -> str:
        partner_id = await self.value("SELECT id FROM partners WHERE name = :name", name=self.partner)
        content = self.vault.seal(CONTENT, Place("deliveries", "content", int(str(partner_id)), str(id_)))
        await self.value(
            "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, state, attempts, content, "
            "settled_at, last_code, created_at) SELECT :id, u.partner_id, e.id, u.id, e.kind, :state, :attempts, "
            ":content, CASE WHEN :settled THEN now() END, 500, coalesce(:at, now()) "
            "FROM users u JOIN endpoints e ON e.partner_id = u.partner_id "
            "WHERE u.partner_id = :partner_id AND u.tag = :tag AND e.kind = :kind RETURNING id",
            id=id_, partner_id=partner_id, state=state, attempts=attempts, tag=tag, kind=kind, at=at,
            content=content if has_content else None, settled=state not in {"pending", "sending"},
        )  # fmt: skip
        return webhook_id(id_)

    async def attempt(
        self, delivery: str, number: int, *, code: int | None, answer: str, error: str | None = None
    ) -> None:
        """One attempt at it, its answer sealed as the dispatcher seals it."""
        attempt, id_ = time_ordered(), UUID(hex=delivery.removeprefix("msg_"))
        partner_id = int(str(await self.value("SELECT partner_id FROM deliveries WHERE id = :id", id=id_)))
        body = self.vault.seal_text(answer, Place("attempts", "body", partner_id, str(attempt)))
        await self.value(
            "INSERT INTO attempts (id, partner_id, delivery_id, number, milliseconds, code, error, body) "
            "VALUES (:attempt, :partner_id, :id, :number, 41, :code, :error, :body) RETURNING id",
            attempt=attempt, partner_id=partner_id, id=id_, number=number, code=code, error=error, body=body,
        )  # fmt: skip

    async def state(self, delivery: str) -> str:
        """The state of a delivery."""
        return str(await self.value("SELECT state FROM deliveries WHERE id = :id", id=UUID(hex=delivery[4:])))
