"""Draw the trace of a mail whose first webhook failed, as a collector got it; writes docs/images/trace.svg."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from fixtures import engines
from fixtures.collector import attributes, collecting
from fixtures.world import World, eventually, running
from superimap.charts import waterfall
from superimap.charts.waterfall import Row
from superimap.launch import engines as embedded
from superimap.launch import services
from superimap.testing import ImapServer, Received, WebhookSink

PICTURE = Path(__file__).resolve().parents[2] / "docs/images/trace.svg"
MAIL = b"From: ada@example.com\r\nSubject: A trace\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n"
LABEL = "The trace of a mail whose first webhook was answered by 500"
ANSWER_SECONDS = 0.3


async def main() -> int:
    """Draw the picture; returns the exit code."""
    with engines.open_folder("superimap-trace-") as folder:
        async with (
            embedded.postgres(folder / "pg", fsync=False) as server,
            embedded.valkey(None) as redis,
            collecting() as collector,
            ImapServer() as imap,
            WebhookSink() as sink,
        ):
            world = World(await engines.create_database(server, "trace"), redis)
            world.overrides["traces_url"] = collector.url
            await _deliver(world, imap, sink)
            spans = collector.spans
    chart = waterfall.waterfall(rows_of(spans), label=LABEL)
    PICTURE.write_text(waterfall.as_file(chart))
    for row in chart.rows:
        print(*row, sep="\t")
    return 0


async def _deliver(world: World, imap: ImapServer, sink: WebhookSink) -> None:
    """Have a mail watched, recorded and sent twice; the dispatcher exports its trace when it stops."""

    async def answer(_: Received) -> int:
        await asyncio.sleep(ANSWER_SECONDS)
        return 500 if len(sink.received) == 1 else 204

    sink.answer = answer
    imap.add_account("ada", "pw")
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    await world.user(partner, "ada", login="ada", password="pw")
    async with running(services.run_idler, world.settings), running(services.run_dispatcher, world.settings):
        await imap.wait_for(lambda: any(session.idling for session in imap.sessions))
        imap.deliver("ada", MAIL)
        await eventually(lambda: world.value("SELECT count(*) FROM attempts"))
        await world.rows("UPDATE deliveries SET due_at = now()")
        await eventually(lambda: world.value("SELECT count(*) FROM deliveries WHERE state = 'delivered'"))


def rows_of(spans: Sequence[Span]) -> list[Row]:
    """Return the rows of a trace, in the order of its spans."""
    start = min(span.start_time_unix_nano for span in spans)
    return [
        Row(
            span.name,
            (span.start_time_unix_nano - start) / 1e9,
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            _tone(span),
            depth=int(bool(span.parent_span_id)),
            note=str(attributes(span).get("http.response.status_code", "")),
        )
        for span in spans
    ]


def _tone(span: Span) -> str:
    if span.status.code == Status.STATUS_CODE_ERROR:
        return "bad"
    return "good" if span.kind == Span.SPAN_KIND_CLIENT else "main"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
