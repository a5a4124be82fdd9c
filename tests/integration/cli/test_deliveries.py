"""The commands for deliveries and endpoints: list, replay, cancel, enable and test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from fixtures.deliveries import DeliveryFactory
from superimap.core.crypto import Vault
from superimap.db.engine import sessions
from superimap.testing.signatures import verify_standard


class BlockingFactory:
    """A DeliveryFactory for the partner acme, which has the user ann, for tests that are not coroutines."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url

    def do(self, what: str, *args: Any, **values: Any) -> Any:
        """Call a method of DeliveryFactory in an event loop of its own, as commands have."""
        import os

        async def whole() -> Any:
            vault = Vault.from_setting(os.environ["ENCRYPTION_KEY"])
            async with sessions(self.database_url) as sessionmaker:
                made: Coroutine[Any, Any, Any] = getattr(DeliveryFactory(sessionmaker, vault), what)(
                    *args, **values
                )
                return await made

        return asyncio.run(whole())


@pytest.fixture
def factory(database_url, superimap) -> BlockingFactory:
    superimap("migrate")
    superimap("partners", "create", "acme", "--new-mail-webhook", "https://app.example.com/hook")
    made = BlockingFactory(database_url)
    made.do("value", "INSERT INTO providers (code, title, kind, imap_host, imap_port) "
            "VALUES ('PLAIN', 'x', 'PLAIN', 'x', 993) ON CONFLICT DO NOTHING RETURNING 1")  # fmt: skip
    made.do("user", "ann")
    return made


def test_deliveries_are_listed_and_filtered(superimap, ask, factory):
    failed = factory.do("deliveries", 2)
    factory.do("deliveries", state="pending")

    assert [row["id"] for row in ask("deliveries", "list", "acme", "--state", "failed")] == failed[::-1]
    assert len(ask("deliveries", "list", "acme", "--user", "ann", "--since", "1h", "--limit", "1")) == 1
    assert ask("deliveries", "list", "acme", "--until", "2020-01-01") == []
    said = superimap("deliveries", "list", "acme", "--limit", "1").stdout
    assert "There are more than 1" in said


def test_a_delivery_is_shown_with_its_attempts_and_answers(superimap, ask, factory):
    (delivery,) = factory.do("deliveries")
    factory.do("attempt", delivery, 1, code=500, answer="Ouch\x1b[31m")

    shown = ask("deliveries", "show", "acme", delivery)
    said = superimap("deliveries", "show", "acme", delivery).stdout

    assert shown["attempts_made"][0]["answer"] == "Ouch\x1b[31m"
    assert "Ouch" in said
    assert "\x1b[31m" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("list", "acme", "--state", "dead"),
        ("list", "acme", "--kind", "mail"),
        ("list", "acme", "--user", "nobody"),
        ("show", "acme", "msg_1"),
        ("show", "acme", "msg_" + "0" * 32),
        ("replay", "acme"),
        ("replay", "acme", "msg_" + "0" * 32, "--all"),
        ("replay", "acme", "msg_" + "0" * 32, "--since", "1h"),
        ("cancel", "acme"),
        ("cancel", "acme", "--all"),  # without a terminal to confirm at
    ],
)
def test_every_error_is_one_line(superimap, factory, words):
    said = superimap("deliveries", *words, code=1).stderr

    assert len(said.splitlines()) == 1


def test_failed_deliveries_are_replayed_by_id_or_all_at_once(superimap, ask, factory, monkeypatch):
    from superimap.db.delivery import replay

    monkeypatch.setattr(replay, "MAX_PER_CALL", 2)
    made = factory.do("deliveries", 5)
    factory.do("deliveries", has_content=False)

    assert ask("deliveries", "replay", "acme", made[0]) == {"replayed": 1}
    assert ask("deliveries", "replay", "acme", "--all") == {"replayed": 4, "erased": 1, "blocked": 0}
    assert [factory.do("state", one) for one in made] == ["pending"] * 5
    assert "still pending" in superimap("deliveries", "replay", "acme", made[0], code=1).stderr


def test_pending_deliveries_are_cancelled_and_replayed(ask, factory, monkeypatch):
    from superimap.db.delivery import replay

    monkeypatch.setattr(replay, "MAX_PER_CALL", 2)
    made = factory.do("deliveries", 5, state="pending")

    assert ask("deliveries", "cancel", "acme", made[0]) == {"cancelled": 1}
    assert ask("deliveries", "cancel", "acme", "--all", "--yes") == {"cancelled": 4}
    assert ask("deliveries", "replay", "acme", "--all", "--cancelled")["replayed"] == 5


def test_endpoints_are_shown_and_enabled(superimap, ask, factory):
    factory.do("value", "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone' RETURNING 1")

    assert ask("webhooks", "show", "acme")[0]["disabled_reason"] == "gone"
    assert "at once" in superimap("webhooks", "enable", "acme").stdout
    assert ask("webhooks", "show", "acme")[0]["disabled_at"] is None
    for words in (("enable", "acme", "user_connected"), ("enable", "acme", "mail"), ("test", "acme", "mail")):
        superimap("webhooks", *words, code=1)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]], list[int]]]:
    """A receiver in a thread, because commands have event loops of their own."""
    got: list[tuple[dict[str, str], bytes]] = []
    codes = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(codes[0])
            self.end_headers()
            self.wfile.write(b"said")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", got, codes
        server.shutdown()
        thread.join()


def test_webhooks_test_sends_a_sample_and_its_exit_code_is_the_result(superimap, receiver):
    import json

    url, got, codes = receiver
    superimap("migrate")
    made = json.loads(superimap("partners", "create", "acme", "--new-mail-webhook", url, "--json").stdout)

    good = json.loads(superimap("webhooks", "test", "acme", "--json").stdout)
    codes[0] = 500

    assert (good["is_success"], good["code"], good["answer"]) == (True, 200, "said")
    assert verify_standard(*got[0], made["signing_secret"])
    from click.testing import Result
    from typer.testing import CliRunner

    from superimap.cli import app

    bad: Result = CliRunner().invoke(app, ["webhooks", "test", "acme"])
    assert bad.exit_code == 1
    assert "500" in bad.stdout
