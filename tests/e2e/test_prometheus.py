"""A real Prometheus scrapes API, idler and dispatcher: all metrics are there, and all rules and panels work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
import yaml

from fixtures.world import World, eventually
from superimap.testing import ImapServer, WebhookSink
from tests.support.mails import mail
from tests.support.monitoring import RULE_FILES, RULES, families, program, queries
from tests.support.processes import environment, started

PROCESSES = ("api", "idler", "dispatcher")


def prometheus_config(ports: Sequence[int]) -> str:
    """Scrape these ports often, and evaluate our rules."""
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in RULE_FILES],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in zip(PROCESSES, ports, strict=True)
            ],
        }
    )


@contextlib.asynccontextmanager
async def prometheus(folder: Path, port: int, config: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run Prometheus; yields a client of its API."""
    (folder / "prometheus.yml").write_text(config)
    running = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
            await eventually(lambda: answers(client), within=30, what="Prometheus")
            yield client
    finally:
        running.terminate()
        await running.wait()


async def answers(client: httpx.AsyncClient) -> bool:
    """Whether it has started: it listens before it takes queries."""
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/query", params={"query": "1"})).status_code == 200
    return False


async def ask(client: httpx.AsyncClient, path: str, **parameters: str) -> dict:
    """Ask Prometheus; raises AssertionError with its reason if it refuses."""
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, (parameters, answer.text)
    return answer.json()["data"]


async def values(client: httpx.AsyncClient, query: str) -> dict[str, float]:
    """The values of a query by job; nothing while Prometheus starts."""
    with contextlib.suppress(httpx.TransportError):
        found = (await ask(client, "/query", query=query))["result"]
        return {each["metric"].get("job", ""): float(each["value"][1]) for each in found}
    return {}


@pytest.fixture
async def watched(world: World, imap: ImapServer, sink: WebhookSink) -> ImapServer:
    """A mail server with a mailbox that is to be watched."""
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    imap.add_account("joe", "pw")
    await world.user(partner, "joe", login="joe", password="pw")
    return imap


async def test_prometheus_reads_every_metric_and_evaluates_every_rule_and_panel(
    world: World, watched: ImapServer, tmp_path: Path, unused_tcp_port_factory
):
    *ports, own = [unused_tcp_port_factory() for _ in range(4)]
    more = {"METRIC_LINES": "l2met", "DYNO": "worker.1", "PORT": "0"}
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(prometheus(tmp_path, own, prometheus_config(ports)))
        processes = [
            await stack.enter_async_context(
                started(name, env=environment(world, HEALTH_PORT=str(port), **more))
            )
            for name, port in zip(PROCESSES, ports, strict=True)
        ]

        async def all_are_ready() -> bool:
            return await values(client, "superimap_ready == 1 and up == 1") == dict.fromkeys(PROCESSES, 1)

        await eventually(all_are_ready, within=60, what="three ready targets")
        await watched.wait_for(lambda: any(each.idling for each in watched.sessions), timeout=60)
        watched.deliver("joe", mail(1))

        async def is_sent() -> bool:
            found = await values(client, 'superimap_attempts_total{outcome="delivered",kind="new_mail"}')
            return found == {"dispatcher": 1}

        await eventually(is_sent, within=60, what="the webhook")

        # Each process exports every metric of the documentation and no other.
        targets = await ask(client, "/targets/metadata")
        exported = {
            name: {each["metric"] for each in targets if each["target"]["job"] == name} for name in PROCESSES
        }
        ours = {
            job: {each for each in found if each.startswith("superimap_")} for job, found in exported.items()
        }
        assert ours == dict.fromkeys(PROCESSES, families())

        # No query of a rule or a panel is refused; those of rules are evaluated by Prometheus itself.
        for query in queries():
            await ask(client, "/query", query=query.expression)
        groups = (await ask(client, "/rules"))["groups"]
        assert {each["health"] for group in groups for each in group["rules"]} <= {"ok", "unknown"}
        assert len([each for group in groups for each in group["rules"]]) == len(RULES)

        for process in processes:
            process.terminate()
        for process in processes:  # a second signal would end one at once
            assert await process.ended() == 0

    lines = {process.name: process.output for process in processes}
    assert "source=worker.1 sample#imap_client.total_emails_processed=1\n" in lines["idler"]
    assert "source=worker.1 measure#imap_client.user_thread.count=" in lines["idler"]
    assert "source=worker.1 count#app.call_new_mail_webhook.count=1\n" in lines["dispatcher"]
    assert "imap_client" not in lines["dispatcher"] + lines["api"]
