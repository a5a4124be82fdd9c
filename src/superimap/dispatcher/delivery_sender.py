"""How is one claimed delivery sent? Opened, signed for this very moment, POSTed, judged."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from superimap.core.crypto import Place, UnknownKey, Vault, VaultError
from superimap.core.ids import uuid7
from superimap.db.delivery.deliveries import Claim, Settlement
from superimap.db.watching.events import Happened
from superimap.dispatcher.webhook_client import PostResult, WebhookClient
from superimap.domain.answers import (
    ArchiveUser,
    Delivered,
    EndpointSignal,
    GiveUp,
    RetryIn,
    retry_after,
    sign,
    verdict,
)
from superimap.domain.breaker import Observation
from superimap.domain.deliveries import AttemptOutcome
from superimap.domain.events import EventKind, event_name
from superimap.webhooks import payload, signing
from superimap.webhooks.signing import SigningKeys

log = logging.getLogger(__name__)

UNREADABLE = "unreadable"
UNSENT = frozenset({"unsigned", "unknown_key", UNREADABLE})
"""Errors of ours: nothing was sent, and nothing is known of the endpoint."""

MAX_STORED_ANSWER_CHARACTERS = 1024  # characters


class Keyring(Protocol):
    """Where signing keys come from."""

    async def of(self, partner_id: int) -> SigningKeys:
        """The partner's unexpired keys."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """What came of a POST: for its delivery, and for its endpoint unless that has nothing to do with it."""

    settlement: Settlement
    event: Observation | None


@dataclass(frozen=True, slots=True)
class DeliverySender:
    """Sends claimed deliveries. `clock` is Unix time, which receivers hold against their own.

    `events` looks an event up; `connect_url` makes a link for a user and a time, or None without a BASE_URL.
    """

    vault: Vault
    keyring: Keyring
    sender: WebhookClient
    events: Callable[[int], Awaitable[Happened | None]]
    connect_url: Callable[[int, float], str | None]
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random

    async def deliver(self, claim: Claim) -> FinishedAttempt:
        """Send it once and say what came of it. Raises only what the database raises, before anything is sent."""
        started = time.perf_counter()
        answer = await self._send(claim)
        wait = retry_after(answer.retry_after, now=self.clock())
        outcome, delay = self._meaning(claim, answer, wait)
        attempt = uuid7()
        settlement = Settlement(
            id=attempt,
            claim=claim,
            outcome=outcome,
            delay=delay,
            age=time.perf_counter() - started,
            milliseconds=answer.milliseconds,
            code=answer.status,
            error=answer.error,
            body=self._seal(answer.body, claim.partner_id, attempt),
        )
        return FinishedAttempt(settlement, _event(claim, answer, wait))

    async def _send(self, claim: Claim) -> PostResult:
        keys = await self.keyring.of(claim.partner_id)
        if not keys.api_keys:
            log.error("a partner has no key to sign with", extra={"partner_id": claim.partner_id})
            return _unsent("unsigned")
        try:
            content = self._open(claim) if claim.event_id is None else await self._made(claim, claim.event_id)
            now = int(self.clock())
            body = payload.body(content, timestamp=now, api_keys=keys.api_keys)
            headers = signing.standard_headers(claim.id, timestamp=now, body=body, secrets=keys.secrets)
        except UnknownKey as error:  # a rotation is under way, and this process has yet to be restarted
            log.error("a delivery waits for its key: %s", error, extra={"delivery_id": claim.id})
            return _unsent("unknown_key")
        except (VaultError, ValueError, IndexError) as error:
            log.error("a delivery is unreadable: %s", error, extra={"delivery_id": claim.id})
            return _unsent(UNREADABLE)
        return await self.sender.post(claim.url, body, headers)

    async def _made(self, claim: Claim, event_id: int) -> bytes:
        """Content of an event, with a link that is good from now on. Raises ValueError if the event is gone."""
        happened = await self.events(event_id)
        if happened is None:
            raise ValueError("its event is gone")
        return payload.user_event(
            event_name(happened.kind),
            user_tag=happened.user_tag,
            imap_provider_code=happened.imap_provider_code,
            happened_at=happened.at,
            code=happened.code,
            reason=happened.reason,
            connect_url=self.connect_url(claim.user_id, self.clock()),
        )

    def _open(self, claim: Claim) -> bytes:
        place = Place("deliveries", "content", claim.partner_id, str(claim.id))
        return self.vault.open(claim.content or b"", place)

    def _seal(self, body: str, partner_id: int, attempt: UUID) -> bytes | None:
        """An answer as it is kept: its start, and never in clear."""
        if not body:
            return None
        place = Place("attempts", "body", partner_id, str(attempt))
        return self.vault.seal(
            body.replace("\0", "")[:MAX_STORED_ANSWER_CHARACTERS].encode("utf-8", "replace"), place
        )

    def _meaning(self, claim: Claim, answer: PostResult, wait: float) -> tuple[AttemptOutcome, float]:
        if answer.error == UNREADABLE and answer.status is None:
            return AttemptOutcome.FAILED, 0.0
        tries = claim.attempt - claim.attempts_before
        archives = claim.kind != EventKind.EVENTS
        match verdict(answer.status, attempt=tries, chance=self.chance(), wait=wait, archives=archives):
            case Delivered():
                return AttemptOutcome.DELIVERED, 0.0
            case ArchiveUser():
                return AttemptOutcome.ARCHIVE, 0.0
            case RetryIn(seconds=seconds):
                return AttemptOutcome.RETRY, seconds
            case GiveUp():
                return AttemptOutcome.FAILED, 0.0


def _event(claim: Claim, answer: PostResult, wait: float) -> Observation | None:
    """What the endpoint's breaker has to hear; nothing where all was well and is."""
    if answer.status is None and answer.error in UNSENT:
        return None
    told = sign(answer.status, archives=claim.kind != EventKind.EVENTS)
    return None if told is EndpointSignal.WELL and claim.is_well else Observation(told, claim.setbacks, wait)


def _unsent(error: str) -> PostResult:
    return PostResult(status=None, error=error, body="", milliseconds=0)
