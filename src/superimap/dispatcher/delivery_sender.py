"""Sending of one claimed delivery: its content is decrypted, signed and POSTed, and the answer is judged."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from superimap.core import metrics
from superimap.core.content_store import ContentStore, ContentStoreError, is_reference
from superimap.core.crypto import Place, UnknownKey, Vault, VaultError
from superimap.core.ids import uuid7
from superimap.db.delivery.deliveries import Claim, Settlement
from superimap.db.watching.events import RecordedEvent
from superimap.dispatcher.tracer_sink import TracerSink
from superimap.dispatcher.webhook_client import PostResult, WebhookClient
from superimap.domain import traces
from superimap.domain.answers import AnswerJudgement, EndpointSignal, LocalError, judge_answer
from superimap.domain.breaker import Observation
from superimap.domain.events import EventKind, event_name
from superimap.domain.tracers import SINK_URL
from superimap.webhooks import payload, signing
from superimap.webhooks.signing import SigningKeySource

log = logging.getLogger(__name__)

MAX_STORED_ANSWER_CHARACTERS = 1024

_SENDING = metrics.WEBHOOK_SECONDS.labels("sending")
_RECEIVER = metrics.WEBHOOK_SECONDS.labels("receiver")


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """An attempt to be recorded, and what its answer showed about the endpoint.

    `observation` is None where the breaker needs no observation: the endpoint is healthy and was healthy before,
    or nothing was sent.
    """

    settlement: Settlement
    observation: Observation | None


@dataclass(frozen=True, slots=True)
class DeliverySender:
    """Sends claimed deliveries: those of canary partners to the `sink`, all others by `client`.

    `clock` is Unix time, which receivers compare with their own. `load_event` reads an event by its id.
    `connect_url` makes a link for a user, valid from a time on, or None without a BASE_URL.
    """

    vault: Vault
    signing_keys: SigningKeySource
    client: WebhookClient
    sink: TracerSink
    contents: ContentStore
    load_event: Callable[[int], Awaitable[RecordedEvent | None]]
    connect_url: Callable[[int, float], str | None]
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random

    async def send(self, claim: Claim) -> FinishedAttempt:
        """Send the delivery once. Raises only what the database raises, before anything is sent."""
        started = time.perf_counter()
        if claim.attempt == 1:
            _SENDING.observe(claim.age + time.monotonic() - claim.claimed_at)
        attempt_id = uuid7()
        result = await self._post(claim, attempt_id)
        judgement = judge_answer(
            result.status,
            error=result.error,
            attempt=claim.attempt - claim.attempts_before,
            retry_after=result.retry_after,
            now=self.clock(),
            chance=self.chance(),
            archives=claim.kind != EventKind.EVENTS,
        )
        settlement = Settlement(
            id=attempt_id,
            claim=claim,
            outcome=judgement.outcome,
            delay=judgement.delay,
            age=time.perf_counter() - started,
            milliseconds=result.milliseconds,
            code=result.status,
            error=result.error,
            body=self._sealed_answer(result.body, claim.partner_id, attempt_id),
        )
        return FinishedAttempt(settlement, _observation(claim, judgement))

    async def _post(self, claim: Claim, attempt_id: UUID) -> PostResult:
        keys = await self.signing_keys.get_keys(claim.partner_id)
        if not keys.api_keys:
            log.error("partner has no API key to sign webhooks with", extra={"partner_id": claim.partner_id})
            return _not_sent(LocalError.UNSIGNED)
        try:
            content = (
                await self._opened(claim)
                if claim.event_id is None
                else await self._made(claim, claim.event_id)
            )
            now = int(self.clock())
            recorded_at = claim.recorded_at if claim.kind == EventKind.NEW_MAIL else None
            body = payload.body(content, timestamp=now, api_keys=keys.api_keys, recorded_at=recorded_at)
            headers = signing.standard_headers(claim.id, timestamp=now, body=body, secrets=keys.secrets)
            if keys.send_traceparent:
                headers["traceparent"] = traces.traceparent(claim.id, attempt_id)
        except (
            UnknownKey
        ) as error:  # a key rotation is in progress, and this process has not been restarted yet
            log.error("delivery waits for its encryption key: %s", error, extra={"delivery_id": claim.id})
            return _not_sent(LocalError.UNKNOWN_KEY)
        except ContentStoreError as error:
            log.error("delivery waits for its content: %s", error, extra={"delivery_id": claim.id})
            return _not_sent(LocalError.CONTENT_UNAVAILABLE)
        except (VaultError, ValueError, IndexError) as error:
            log.error("delivery is unreadable: %s", error, extra={"delivery_id": claim.id})
            return _not_sent(LocalError.UNREADABLE)
        if claim.url == SINK_URL:
            return await self.sink.post(claim.partner_id, body, headers)
        result = await self.client.post(claim.url, body, headers)
        _RECEIVER.observe(result.milliseconds / 1000)
        return result

    async def _made(self, claim: Claim, event_id: int) -> bytes:
        """Content of an event, with a link that is valid from now on.

        Raises ValueError if the event no longer exists.
        """
        event = await self.load_event(event_id)
        if event is None:
            raise ValueError("its event no longer exists")
        return payload.user_event(
            event_name(event.kind),
            user_tag=event.user_tag,
            imap_provider_code=event.imap_provider_code,
            happened_at=event.at,
            code=event.code,
            reason=event.reason,
            connect_url=self.connect_url(claim.user_id, self.clock()),
        )

    async def _opened(self, claim: Claim) -> bytes:
        """Content of a delivery, from its row or from the object store.

        Raises VaultError if the row does not decrypt, and ContentStoreError if the object does not, which may be
        restored.
        """
        place, content = content_place(claim), claim.content or b""
        if not is_reference(content):
            return self.vault.open(content, place)
        try:
            return self.vault.open(await self.contents.get(content, place), place)
        except UnknownKey:
            raise
        except VaultError as error:
            raise ContentStoreError(f"the object was changed: {error}") from None

    def _sealed_answer(self, body: str, partner_id: int, attempt_id: UUID) -> bytes | None:
        """The start of an answer's body, encrypted for the attempt's row; None for an empty one."""
        if not body:
            return None
        place = Place("attempts", "body", partner_id, str(attempt_id))
        return self.vault.seal(stored_answer(body).encode("utf-8", "replace"), place)


def content_place(claim: Claim) -> Place:
    """Where the content of a delivery is encrypted for."""
    return Place("deliveries", "content", claim.partner_id, str(claim.id))


def stored_answer(body: str) -> str:
    """The part of an answer's body that is stored and shown. PostgreSQL stores no NUL in text."""
    return body.replace("\0", "")[:MAX_STORED_ANSWER_CHARACTERS]


def _observation(claim: Claim, judgement: AnswerJudgement) -> Observation | None:
    signal = judgement.signal
    if signal is None or (signal is EndpointSignal.HEALTHY and claim.is_healthy):
        return None
    return Observation(signal, claim.setbacks, judgement.pause)


def _not_sent(error: LocalError) -> PostResult:
    return PostResult(status=None, error=error, body="", milliseconds=0)
