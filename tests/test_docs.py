"""Do the pages say what the code does? Settings, commands, fields, numbers, links; and do their snippets run?"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import prometheus_client
import pytest
import typer.main
from pydantic_core import PydanticUndefined

from benchmarks import __main__ as benchmarks
from superimap.api.pages import browser
from superimap.api.routes import callback, connect, disconnect, password
from superimap.cli import app
from superimap.core import config, crypto
from superimap.core.config import Settings, variables
from superimap.core.ids import time_ordered
from superimap.db.accounts import connecting
from superimap.db.watching import token_leases as leases
from superimap.dispatcher import http, lane
from superimap.dispatcher.pace import Pace
from superimap.domain import answers as verdict
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind, EventName, ReasonCode
from superimap.domain.mails import MailOutcome
from superimap.domain.shards import SHARDS
from superimap.domain.users import UserStatus
from superimap.idler import access_tokens as tokens
from superimap.idler.timing import Timing
from superimap.imap.types import Timeouts
from superimap.launch import demo
from superimap.mail import envelope as envelopes
from superimap.mail import message as mail
from superimap.oauth import endpoint, life, links, returns
from superimap.testing.chaos.scenario import Scenario
from superimap.webhooks import payload, signing

ROOT = Path(__file__).parents[1]
API = ROOT / "docs/api.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README, OPERATIONS, BEHAVIOUR, WEBHOOKS = (
    ROOT / name for name in ("README.md", "docs/operations.md", "docs/behaviour.md", "docs/webhooks.md")
)
API_KEY, OTHER_KEY = "sip_one", "sip_two"
SECRET, OTHER_SECRET = crypto.generate_signing_secret(), crypto.generate_signing_secret()


def section(page: Path, heading: str) -> str:
    """What stands under this heading, up to the next one of its level or higher."""
    text = page.read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.M)
    assert found, f"{page.name} has no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(
        rf"^#{{1,{len(found[1])}}} ", re.sub(r"```.*?```", lambda m: " " * len(m[0]), rest, flags=re.S), re.M
    )
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The rows of every table, without headings' lines; cells as written."""
    lines = [
        line for line in text.splitlines() if line.startswith("|") and not re.match(r"\|[-| ]+\|$", line)
    ]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def first_cells(text: str) -> set[str]:
    """What stands in code in the first cells of tables."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}


# Settings, metrics, commands.


def default_of(field: str) -> str:
    """A field's default as docs/operations.md writes it."""
    default = Settings.model_fields[field].default
    if default is PydanticUndefined:
        return "required"
    if default in ("", (), None):
        return "empty"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@pytest.mark.parametrize("field", Settings.model_fields)
def test_operations_lists_every_setting_with_its_default_and_meaning(field):
    listed = {row[0]: row[1:] for row in rows(section(OPERATIONS, "Settings"))}
    described = " ".join((Settings.model_fields[field].description or "").split())

    assert listed[f"`{config.variable(field)}`"] == [default_of(field), described]


def test_api_lists_every_reason_that_a_returning_person_may_bring():
    listed = {row[0].strip("`") for row in rows(section(API, "Links for people")) if row[0].startswith("`")}

    assert {*returns.Reason} == listed - {"connect_url`, OAUTH2", "connect_url`, PLAIN", "disconnect_url"} - {
        returns.RESULT,
        returns.REASON,
        returns.TAG,
    }


def test_operations_lists_no_setting_that_is_none():
    real = {name for field in Settings.model_fields for name in variables(field)}

    assert first_cells(section(OPERATIONS, "Settings")) <= real


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_in_capitals_and_code_are_settings(page):
    real = {name for field in Settings.model_fields for name in variables(field)}
    known = {
        "POSTGRES_PASSWORD",
        "SUPERIMAP_TEST",
        "HTTPS_PROXY",
        "SUPERIMAP_VENV",
        "SUPERIMAP_NO_APT",
        "GMAIL_OAUTH2",
        "OUTLOOK_OAUTH2",
        "OUTLOOK_APP_ONLY",
    }
    said = set(re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)`", page.read_text()))

    assert said <= real | known


def our_metrics() -> set[str]:
    """The names of all metrics that are registered once every process' modules are loaded."""

    return {
        family.name for family in prometheus_client.REGISTRY.collect() if family.name.startswith("superimap")
    }


def test_operations_lists_every_metric_and_no_other():
    assert first_cells(section(OPERATIONS, "Metrics")) - {"outcome", "MAX_SESSIONS"} == our_metrics()


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), command
        return
    for name, one in below.items():
        yield from commands(one, (*path, name))


COMMANDS = {
    f"{program} {words}": command
    for program, tree in (("superimap", app), ("python -m benchmarks", benchmarks.app))
    for words, command in commands(typer.main.get_command(tree))
}


def test_operations_lists_every_command_and_no_other():
    listed = {row[0]: row[1] for row in rows(section(OPERATIONS, "Commands"))[1:]}

    assert listed == {
        f"`{words}`": " ".join((command.help or "").splitlines()[0].split())
        for words, command in COMMANDS.items()
    }


def command_lines() -> Iterator[tuple[str, str]]:
    """Every `superimap …` of the pages, in shell blocks and in running text, by page."""
    for page in PAGES:
        text = page.read_text()
        found = [
            line
            for block in blocks(page, "sh")
            for line in re.findall(r"(?:^|\| )(superimap [^|#\n]+)", block, re.M)
        ]
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        # A command may be broken where its line ends, but not across paragraphs.
        prose = re.sub(r"(?<!\n)\n[ ]*(?!\n)", " ", prose)
        found += re.findall(r"`(superimap [a-z][^`\n…]*)`", prose)
        found += [
            line.replace("docker compose run --rm api", "superimap")
            for line in re.findall(r"docker compose run --rm api [^`\n]+", text)
        ]
        for line in dict.fromkeys(found):
            yield page.name, line.strip()


@pytest.mark.parametrize(("page", "line"), list(command_lines()))
def test_commands_of_the_pages_parse(page, line):
    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(app)
    is_mention = all(re.fullmatch(r"[a-z-]+", word) for word in words)
    while getattr(command, "commands", None) and words:
        if words[0] in {"--help", "COMMAND"}:
            return
        assert words[0] in command.commands, f"{page}: there is no {line!r}"
        command = command.commands[words.pop(0)]
    if "--help" in words or (is_mention and not words):
        return
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, line
    command.make_context(command.name, words)


# Behaviour.


@pytest.mark.parametrize("words", [MailOutcome, UserStatus, DeliveryState], ids=lambda words: words.__name__)
def test_behaviour_lists_every_word_of(words):
    text = {
        MailOutcome: section(BEHAVIOUR, "Outcomes"),
        UserStatus: section(BEHAVIOUR, "Users and their statuses"),
        DeliveryState: section(BEHAVIOUR, "Deliveries"),
    }[words]

    assert {str(word) for word in words} <= first_cells(text)


def test_behaviour_has_the_schedule_of_retries():
    table = rows(section(BEHAVIOUR, "Retries"))[1:]

    assert [int(row[1].replace(",", "")) for row in table] == list(verdict.SCHEDULE)
    assert [int(row[0]) for row in table] == list(range(1, len(verdict.SCHEDULE) + 1))
    for attempt, row in enumerate(table, 1):
        least = verdict.verdict(500, attempt=attempt, chance=0.0)
        assert isinstance(least, verdict.RetryIn)
        assert row[2] == ("exact" if least.seconds == verdict.SCHEDULE[attempt - 1] else "±10 %")
    units = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
    for attempt, row in enumerate(table, 1):
        number, unit = row[3].split()
        assert float(number) == pytest.approx(sum(verdict.SCHEDULE[:attempt]) / units[unit], abs=0.051)
    assert isinstance(verdict.verdict(500, attempt=len(table) + 1, chance=0.0), verdict.GiveUp)


def test_pages_say_how_many_attempts_in_how_many_hours():
    attempts, hours = len(verdict.SCHEDULE) + 1, round(sum(verdict.SCHEDULE) / 3600)

    for page in (README, BEHAVIOUR, WEBHOOKS, ROOT / "CHANGELOG.md"):
        assert re.search(
            rf"{attempts} attempts\s+(in|within)\s+(about )?{hours}\s+hours", page.read_text()
        ), page.name


def test_behaviour_has_the_numbers_of_the_code():
    text = BEHAVIOUR.read_text()
    of = {name: row[1] for row in rows(text) if len(row) > 1 for name in [row[0]]}
    timeouts, pace = Timeouts(), Pace()
    default = {name: field.default for name, field in Settings.model_fields.items()}

    def said(start: str) -> str:
        return next(value for name, value in of.items() if name.startswith(start))

    assert said("sessions per idler") == f"{default['max_sessions']:,}"
    assert said("handshakes and logins") == str(default["connects_in_flight"])
    assert said("connecting: DNS") == f"{timeouts.connect:g} s"
    assert said("logging in") == f"{timeouts.login:g} s"
    assert said("a command") == f"{timeouts.command:g} s"
    assert said("reading one mail") == f"{timeouts.fetch:g} s"
    assert said("IDLE is ended") == f"{default['idle_renew']:g} s"
    assert said("the answer to DONE") == f"{timeouts.done:g} s"
    timing = Timing()
    assert said("where the server has no IDLE") == f"{timing.poll:g} s"
    assert said("proofs of life are written") == f"{timing.prove:g} s"
    assert said("without a proof of life") == f"{default['stalled_after']:g} s"
    assert said("who is stalled is looked for") == f"{pace.stalls:g} s"
    assert said("a catch-up is told") == f"{timing.lag:g} s"
    assert f"waits {pace.hearing:g} s before it believes in silence" in text
    token = "a session comes back with a new access token"
    assert said(token) == f"{life.EARLIEST:.0%}, {life.LATEST:.0%}".replace("%", " %")
    shared = f"{life.EARLIEST_SHARED:.0%}, {life.LATEST:.0%}".replace("%", " %")
    assert said("… where one token opens all") == shared
    assert said("while no new token can be had") == f"{life.AGAIN * 100:g} % of its life, at least 1 s"
    assert said("a process alone asks") == f"{leases.LEASE:g} s"
    assert said("a provider's answer to such") == f"{endpoint.DEADLINE:g} s"
    assert said("after a wrong client secret") == f"{tokens.CLIENT_PAUSE:g} s"
    assert said("where a provider asks for a pause") == f"{tokens.THROTTLED_PAUSE:g} s"
    assert f"({tokens.PATIENCE:g} s at most)" in text
    assert said("logging out") == f"{timeouts.logout:g} s"
    assert said("largest mail") == f"{default['max_email_size']:,} bytes"
    assert said("bytes of mail in memory") == f"{default['bytes_in_flight'] >> 20} MiB"
    assert said("one attempt") == f"{default['webhook_timeout']:g} s"
    lease = default["webhook_timeout"] + pace.lease_margin
    assert said("lease of a delivery") == f"{lease:g} s: `WEBHOOK_TIMEOUT` + {pace.lease_margin:g} s"
    assert said("POSTs under way") == str(default["posts_per_endpoint"])
    assert said("endpoints that a dispatcher") == str(default["max_lanes"])
    assert said("a lane gives its place") == f"{pace.lane_budget:g} s"
    assert said("the same, while none of its POSTs") == f"{lane.PATIENCE:g} s"
    assert said("the same, to an endpoint that did not answer") == str(lane.FEW)
    assert (said("seats (`MAX_LANES`)"), said("seats that all")) == ("a fifth", "a quarter")
    assert (lane.FAIR, lane.AILING) == (5, 4)
    assert said("the sweeper looks") == f"{pace.sweep:g} s"
    assert said("bytes read of an answer").startswith(f"{http.LONGEST_ANSWER >> 10} KiB")
    assert said("an idle connection to a receiver") == f"{http.KEEPALIVE:g} s"
    assert said("shards; a user's") == f"{SHARDS:,}"
    assert said("heartbeat") == f"{default['heartbeat_interval']:g} s"
    assert said("an idler is taken for dead") == f"{default['heartbeat_expiry']:g} s"
    assert said("content of a failed") == f"{default['content_retention_days']:g} days; encrypted"
    assert said("messages (ids") == f"{default['message_retention_days']:g} days"
    assert said("a connect or disconnect link") == f"{links.LIFETIME // 60} minutes"
    assert said("and it can be opened") == f"{connect.OPENED_AT_MOST} times"
    assert said("a consent or a form") == f"{connecting.CONSENT_LIFE // 3600} hour"
    assert browser.LIFE == connecting.CONSENT_LIFE
    assert said("what is asked of a provider") == f"{callback.PATIENCE:g} s"
    assert said("the login that tries") == f"{password.PATIENCE:g} s"
    assert said("a mail server that the person named") == f"{password.FLOOR:g} s"
    assert said("passwords tried by one link") == str(password.TRIES_PER_LINK)
    assert said("passwords tried from one address") == f"{password.TRIES_PER_MINUTE} in a minute"
    assert said("revoking a token") == f"{disconnect.PATIENCE:g} s, once"


def test_behaviour_has_every_word_for_a_post_without_an_answer():
    words = {word for _, word in http._KINDS} | {"protocol", "unsigned", "unreadable"}
    words |= {*http._CERTIFICATES.values(), "certificate_untrusted"}
    said = BEHAVIOUR.read_text().partition("`attempts.error` is one of")[2].partition(".\n")[0]

    assert words <= set(re.findall(r"`([a-z_]+)`", said))


# Webhooks.

RAW = "From: Ada <ada@example.com>\r\nMessage-ID: <1@example.com>\r\n\r\ncaf\xe9\r\n".encode("latin-1")


def content(kind: EventKind) -> bytes:
    """The content of a webhook of this kind, with every field that it can have."""
    read = mail.parse(RAW)
    text, was_scrubbed = mail.text_of(RAW)
    user = {"user_tag": "MY_USER", "imap_provider_code": "PLAIN"}
    match kind:
        case EventKind.NEW_MAIL:
            return payload.new_mail(
                RAW,
                text=text,
                is_exact=not was_scrubbed,
                sha1=read.sha1,
                envelope=envelopes.as_json(read.envelope),
                **user,
            )
        case EventKind.USER_CONNECTED:
            return payload.user_connected(email="ada@example.com", **user)
        case EventKind.USER_DISCONNECTED:
            return payload.user_disconnected(**user)
        case EventKind.EVENTS:
            return event(EventName.USER_RECOVERED)


def event(name: EventName) -> bytes:
    """The content of an event with every field that it can have."""
    user = {"user_tag": "MY_USER", "imap_provider_code": "PLAIN"}
    now = datetime.now(UTC)
    if name is not EventName.MAIL_OVERSIZED:
        return payload.user_event(
            name, happened_at=now, code="login_refused", reason="No.", connect_url="https://x", **user
        )
    envelope = envelopes.as_json(mail.parse(RAW).envelope)
    return payload.mail_oversized(
        happened_at=now, uid_validity=1, uid=2, internal_date=now, size=3, limit=2, envelope=envelope, **user
    )


def webhook(
    kind: EventKind = EventKind.NEW_MAIL, *, age: int = 0, keys: int = 1
) -> tuple[dict[str, str], bytes]:
    """Headers and body as they are sent; two keys as while they are being changed."""
    now = int(time.time()) - age
    raw = payload.body(content(kind), timestamp=now, api_keys=(API_KEY, OTHER_KEY)[:keys])
    secrets = (OTHER_SECRET, SECRET)[2 - keys :]
    return signing.standard_headers(time_ordered(), timestamp=now, body=raw, secrets=secrets), raw


@pytest.mark.parametrize("kind", EventKind)
def test_webhooks_lists_the_fields_of(kind):
    table = rows(section(WEBHOOKS, "Fields of the body"))[1:]
    listed = {row[0].strip("`") for row in table if row[1] == "all" or f"`{kind}`" in row[1]}
    body = json.loads(webhook(kind, keys=2)[1])

    assert listed == body.keys()


@pytest.mark.parametrize("name", EventName)
def test_webhooks_lists_the_fields_of_the_event(name):
    common = rows(section(WEBHOOKS, "Fields of the body"))[1:]
    text = section(WEBHOOKS, "Events")
    own = {row[0].strip("`") for row in rows(text)[1:] if f"`{name}`" in row[1]}
    (summary,) = [row[2] for row in rows(text) if row[0] == f"`{name}`"]

    body = json.loads(payload.body(event(name), timestamp=1, api_keys=[API_KEY, OTHER_KEY]))

    assert own == set(re.findall(r"`(\w+)`", summary))
    assert {row[0].strip("`") for row in common if row[1] in ("all", "`events`")} | own == body.keys()


def test_the_samples_of_events_are_what_is_sent():
    samples = [json.loads(block) for block in blocks(WEBHOOKS, "json")]

    assert {sample["event"] for sample in samples} == {"user_reauth_required", "mail_oversized"}
    for sample in samples:
        sent = json.loads(payload.body(event(EventName(sample["event"])), timestamp=1, api_keys=[API_KEY]))
        assert list(sample) == list(sent)
        assert {name: type(value) for name, value in sample.items()} == {
            name: type(value) for name, value in sent.items()
        }
        assert sample["sha1"] == sent["sha1"]
        assert (sample.get("envelope") or {}).keys() == (sent.get("envelope") or {}).keys()


@pytest.mark.parametrize("words", [EventName, ReasonCode])
def test_webhooks_lists_every_word_of(words):
    assert {str(word) for word in words} <= first_cells(section(WEBHOOKS, "Events"))


def test_webhooks_describes_the_envelope():
    text = section(WEBHOOKS, "Fields of the body")
    envelope = json.loads(webhook()[1])["envelope"]

    for name in (*envelope, *envelope["from"][0]):
        assert f"`{name}`" in text


def test_webhooks_lists_every_header():
    listed = first_cells(section(WEBHOOKS, "Headers"))

    assert listed - {"msg_", "v1,"} == {*webhook()[0], *http._HEADERS}


def names_of(source: str) -> dict[str, Any]:
    """What a Python block of a page defines."""
    defined: dict[str, Any] = {}
    exec(compile(source, "page", "exec"), defined)
    return defined


def python_recipes() -> list[tuple[str, Any, Any]]:
    """Page, verifier by header, verifier by API key: both pages have both."""
    page = names_of(next(block for block in blocks(WEBHOOKS, "python") if "def is_genuine" in block))
    readme = names_of(next(block for block in blocks(README, "python") if "def by_header" in block))
    return [
        ("webhooks.md", page["is_genuine"], page["is_genuine_by_api_key"]),
        ("README.md", readme["by_header"], readme["by_api_key"]),
    ]


@pytest.mark.parametrize(("page", "by_header", "by_api_key"), python_recipes())
@pytest.mark.parametrize("keys", [1, 2])
@pytest.mark.parametrize("kind", EventKind)
def test_python_recipes_accept_a_true_webhook(page, by_header, by_api_key, keys, kind):
    headers, raw = webhook(kind, keys=keys)

    assert by_header(headers, raw, SECRET)
    assert by_api_key(json.loads(raw), API_KEY)
    if keys == 2:
        assert by_header(headers, raw, OTHER_SECRET)


@pytest.mark.parametrize(("page", "by_header", "by_api_key"), python_recipes())
def test_python_recipes_refuse_a_forged_webhook(page, by_header, by_api_key):
    headers, raw = webhook()
    body = json.loads(raw)

    assert not by_header(headers, raw.replace(b"MY_USER", b"NO_USER"), SECRET)
    assert not by_header(headers, raw, OTHER_SECRET)
    assert not by_header(headers | {"webhook-id": "msg_" + "0" * 32}, raw, SECRET)
    assert not by_api_key(body | {"sha1": "0" * 40}, API_KEY)
    assert not by_api_key(body, OTHER_KEY)


def test_the_recipe_in_webhooks_takes_either_key_and_no_old_webhook():
    _, by_header, by_api_key = python_recipes()[0]
    _, raw = webhook(keys=2)
    old_headers, old_raw = webhook(age=400)

    assert by_api_key(json.loads(raw), OTHER_KEY)
    assert not by_header(old_headers, old_raw, SECRET)
    assert not by_api_key(json.loads(old_raw), API_KEY)
    assert not by_header({}, raw, SECRET)


def test_the_recipe_for_exact_bytes_gives_them():
    mail_bytes = names_of(blocks(WEBHOOKS, "python")[0])["mail_bytes"]
    body = json.loads(webhook()[1])

    assert mail_bytes(body) == RAW
    assert hashlib.sha1(mail_bytes(body)).hexdigest() == body["sha1"]
    assert mail_bytes({"rfc822": "a\r\n"}) == b"a\r\n"


# Links, languages, and what must not be there.


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


def test_every_page_can_be_found():
    linked = "\n".join(page.read_text() for page in PAGES)

    for page in PAGES:
        if page.parent.name != "decisions" and page.name not in {"README.md", "CHANGELOG.md"}:
            assert page.name in linked.replace(f"# {page.name}", ""), page


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda page: page.stem)
def test_decisions_have_their_parts(page):
    text = page.read_text()

    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "Consequences"]
    assert 15 <= len(text.splitlines()) <= 35


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)

    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith("|"), line


def project_files() -> list[Path]:
    """The files of the repository that people wrote, without those that others did."""
    left_out = {"node_modules", "__pycache__", "swagger-ui"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(
            part in left_out or (part.startswith(".") and part != ".ci")
            for part in path.relative_to(ROOT).parts[:-1]
        )
        and path.stat().st_size < 2_000_000
    ]


def test_the_scenario_in_operations_is_one():
    [written] = blocks(ROOT / "docs/operations.md", "toml")

    [case] = Scenario.loads(written).cases

    assert case.keys() >= {"name", "rate", "only", "times", "after", "until"}


def test_no_file_names_an_index_or_a_place_outside():
    # Put together here, so that this file does not name them either.
    unwanted = re.compile(
        "|".join(
            [
                r"\.\./" + "shared",
                "pypi" + r"\.org",
                "python" + "hosted",
                "npm" + r"js\.(org|com)",
                r"proxy\.golang" + r"\.org",
            ]
        )
    )
    for path in project_files():
        try:
            found = unwanted.search(path.read_text())
        except UnicodeDecodeError:
            continue
        assert not found, f"{path.relative_to(ROOT)} names {found[0] if found else ''}"


def test_python_blocks_compile_and_use_only_what_there_is():
    for page in PAGES:
        for block in blocks(page, "python"):
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        assert alias.name in sys.stdlib_module_names, f"{page.name} imports {alias.name}"


def test_json_blocks_are_json():
    for page in PAGES:
        for block in blocks(page, "json"):
            json.loads(block)


# What runs.


@pytest.mark.parametrize(
    "statement", [part for block in blocks(OPERATIONS, "sql") for part in block.split(";") if part.strip()]
)
async def test_statements_of_the_runbooks_run(database_url, statement):
    db = await asyncpg.connect(database_url)
    try:
        await db.execute(statement)
    finally:
        await db.close()


def test_the_readme_shows_what_the_demo_prints():
    shown = re.findall(r"^webhook +(\d+) +(.+?) +(\d+) ms  .*$", README.read_text(), re.M)
    lines = re.findall(r"^webhook +\d.*$", README.read_text(), re.M)

    assert lines == [demo.line(demo.Arrival(int(n), subject, float(ms))) for n, subject, ms in shown]
    arrivals = [demo.Arrival(int(n), subject, float(ms)) for n, subject, ms in shown[-5:]]
    assert f"5 of 5 mails gave a verified webhook: {demo.summary(arrivals)}" in README.read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def readme_steps(folder: Path, ports: dict[str, int]) -> SimpleNamespace:
    """The blocks of "Your first webhook", in this folder and on these ports."""

    def moved(text: str) -> str:
        for written, port in ports.items():
            text = re.sub(rf"\b{written}\b", str(port), text)
        return text.replace("/tmp/superimap-try", str(folder / "data"))

    text = section(README, "Your first webhook")
    found = [
        (language, moved(block))
        for language, block in re.findall(r"^```(sh|python|)\n(.*?)^```$", text, re.M | re.S)
    ]
    shell = [block for language, block in found if language == "sh"]
    code = {
        block.split("\n", 1)[0].removeprefix("# "): block for language, block in found if language == "python"
    }
    shown = [block for language, block in found if not language]
    return SimpleNamespace(shell=shell, code=code, shown=shown)


def test_the_first_webhook_of_the_readme_works_as_written(open_folder):
    ports = {"8000": free_port(), "10143": free_port(), "9000": free_port()}
    folder = open_folder / "readme"
    folder.mkdir(mode=0o755)
    steps = readme_steps(folder, ports)
    set_up, up, fake_imap, operate, receiver, send, by_api = steps.shell
    assert set_up.splitlines()[0] == "python3 run.py setup"
    for name, source in steps.code.items():
        (folder / name).write_text(source)
    ours = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
    }
    # Only here: the ports are others than those that the page may take for granted.
    up, fake_imap = (
        f"exec {up.strip()} --port {ports['8000']}",
        f"exec {fake_imap.strip()} --port {ports['10143']}",
    )
    operate = operate.replace(
        "superimap connections",
        f"superimap providers update PLAIN --imap-port {ports['10143']}\nsuperimap connections",
        1,
    )
    operate = operate.replace("superimap users list", "sleep 3; superimap users list")
    receiver = f"{receiver.replace('&', '> received.txt 2>&1 &')}\necho $! > receiver.pid\nsleep 1"
    script = "\n".join(["set -e", operate, receiver, send, by_api])
    running = [start(line, folder, ours) for line in (up, fake_imap)]
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{ports['8000']}/readyz"), 60)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=ours,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert steps.shown[0].splitlines()[0] in done.stdout
        assert re.search(r"^ada +ada@example.com +watching", done.stdout, re.M), done.stdout
        api = f"http://127.0.0.1:{ports['8000']}/api/v1/connections/OTHER/users/grace"
        key = re.findall(r"sip_\S+", (folder / "data/acme.txt").read_text())[0]
        wait_until(lambda: '"status":"watching"' in fetched(api, key), 20)
        wait_until(lambda: (folder / "received.txt").read_text().startswith(steps.shown[1]), 10)
    finally:
        if (folder / "receiver.pid").exists():
            os.kill(int((folder / "receiver.pid").read_text()), signal.SIGTERM)
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(20)


def start(line: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(["bash", "-c", line], cwd=folder, env=environment, stdout=log, stderr=log)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def fetched(url: str, key: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"x-api-key": key}), timeout=5) as answer:
        return str(answer.read().decode())


def wait_until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)
