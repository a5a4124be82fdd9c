"""Chaos by name, by seed and by scenario; without a case the server obeys the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from typer.testing import CliRunner

from superimap.cli.app import app
from superimap.imap.connection import connect
from superimap.imap.errors import ImapError
from superimap.imap.types import Login, ServerAddress, Timeouts
from superimap.testing import Chaos, ImapServer, Scenario, ScenarioError, UnknownCase
from superimap.testing.chaos.case import CASES
from superimap.testing.chaos.cases.original import KINDS
from superimap.testing.chaos.hostile_mails import small_mail

FAST = Timeouts(connect=0.3, login=0.3, command=0.3, fetch=0.3, done=0.3, logout=0.05)


async def visit(server: ImapServer, username: str = "joe") -> str:
    """Run a session that uses most commands; return its outcome."""
    try:
        async with connect(
            ServerAddress(server.host, server.port, "none"), Login(username, "pw"), timeouts=FAST
        ) as client:
            await client.list_folders()
            await client.examine("INBOX")
            found = list(await client.search_uids())
            await client.fetch_meta(found)
            for uid in found:
                await client.fetch_raw(uid)
            await client.noop()
    except ImapError as error:
        return type(error).__name__
    return "well"


@contextlib.asynccontextmanager
async def serving(*usernames: str, mails: int = 5):
    async with ImapServer(any_login=True) as server:
        for username in usernames or ("joe",):
            for number in range(mails):
                server.deliver(username, small_mail(f"mail {number}"))
        yield server


def test_all_forty_cases_and_the_cases_of_the_original_have_names():
    groups = {CASES[name].group for name in Chaos.names()}

    assert {f"C{number:02}" for number in range(1, 41)} <= groups
    assert {name for name in Chaos.names() if CASES[name].group == "seed"} == {
        f"seed {kind.name}" for kind in KINDS
    }
    assert sum(kind.weight for kind in KINDS) + 400 == 409
    assert all(Chaos.describe().values())


async def test_a_group_name_is_accepted_and_an_unknown_name_raises():
    async with serving() as server:
        chaos = Chaos(server).add("c05").add("C07").add("seed gibberish tagged")

        assert [arm.case.name for arm in chaos.arms] == [
            "C05 bye in idle",
            "C07 uidvalidity changes at select",
            "C07 uidvalidity changes in idle",
            "seed gibberish tagged",
        ]
        for bad in ({"name": "C41"}, {"name": "C05", "rate": 2}, {"name": "C05", "secs": 1}):
            with pytest.raises(ValueError, match=r"C41|rate|secs"):
                chaos.add(**bad)
        with pytest.raises(UnknownCase):
            chaos.remove("nothing")


async def story(seed: int, *, others: int = 0) -> tuple[list[str], list[tuple[str, str]]]:
    """Thirty sessions of joe, while other users connect too: their outcomes, and the cases that struck joe."""
    async with serving("joe", *(f"other{number}" for number in range(others))) as server:
        with Chaos(server, seed=seed).add("seed", rate=0.01).add("C32", rate=0.02) as chaos:
            results = []
            for _ in range(30):
                crowd = [visit(server, f"other{number}") for number in range(others)]
                results.append((await asyncio.gather(visit(server), *crowd))[0])
            return results, [(line.case, line.what) for line in chaos.log if line.username == "joe"]


async def test_the_same_seed_repeats_and_another_differs():
    first, again, other = await story(1), await story(1), await story(2)

    assert first == again
    assert first[1]
    assert first != other


async def test_other_users_do_not_change_what_strikes_a_user():
    # Before login a connection is identified by its number, which depends on others: compare what follows.
    alone, crowded = await story(4), await story(4, others=3)

    assert alone[1][:3] == crowded[1][:3]


async def test_a_server_is_correct_before_and_after_its_chaos():
    async with serving() as server:
        before = (server.on_push, server.greeting, list(server.capabilities))
        with Chaos(server) as chaos:
            assert await visit(server) == "well"
            for name in Chaos.names():
                if CASES[name].group not in {"C34", "C35", "C36"}:
                    chaos.add(name)
            assert await visit(server) != "well"
            chaos.clear()
            assert await visit(server) == "well"

        assert (server.on_push, server.greeting, list(server.capabilities)) == before
        assert not server.hooks_for("UID FETCH")
        assert not server.errors


async def test_options_only_times_and_rate_limit_a_case_and_removal_ends_it():
    async with serving("joe", "ann") as server:
        chaos = Chaos(server).add("C21 authentication failed", only="joe").add("C16", times=2, only=["ann"])

        assert await visit(server) == "AuthenticationFailed"
        assert [await visit(server, "ann") for _ in range(3)] == ["Refused", "Refused", "well"]
        assert chaos.struck("C16", username="ann") == 2
        chaos.remove("C16")
        chaos.add("C32 wrong tag", rate=0.0)
        assert await visit(server, "ann") == "well"


async def test_a_case_strikes_only_in_its_period():
    async with serving() as server:
        chaos = Chaos(server).add("C21 authentication failed", after=0.2, until=0.4)
        chaos.began -= 0.0

        assert await visit(server) == "well"
        chaos.began -= 0.25
        assert await visit(server) == "AuthenticationFailed"
        chaos.began -= 0.25
        assert await visit(server) == "well"


async def test_a_scenario_is_read_from_a_file(tmp_path):
    file = tmp_path / "evening.toml"
    file.write_text(
        'seed = 7\n[[case]]\nname = "C16"\nms = 50\nat = "EXAMINE"\nonly = ["joe"]\ntimes = 1\n'
        '[[case]]\nname = "seed"\nrate = 0.0\n'
    )
    async with serving() as server:
        chaos = Scenario.load(file).arm(server)

        assert chaos.seed == 7
        assert [await visit(server), await visit(server)] == ["Refused", "well"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[case]]\nrate = 1", "case 1 has no name"),
        ('[[case]]\nname = "C99"', "C99"),
        ('[[case]]\nname = "C05"\nrate = "often"', "rate must be a number"),
        ('[[case]]\nname = "C05"\nonly = 3', "only must be a list"),
        ("case = 3", "are allowed"),
        ("cases = []", "are allowed"),
        ("[[case", "Expected"),
    ],
)
def test_an_invalid_scenario_raises_with_place_and_reason(text, said):
    with pytest.raises(ScenarioError, match=said):
        Scenario.loads(text)


async def test_a_scenario_with_an_unknown_option_raises_when_it_is_armed():
    async with serving() as server:
        with pytest.raises(ScenarioError, match="no option colour"):
            Scenario.loads('[[case]]\nname = "C05"\ncolour = 3').arm(server)

        assert await visit(server) == "well"


def test_the_command_lists_all_cases():
    printed = CliRunner().invoke(app, ["fake-imap", "--list"]).output

    assert all(name in re.sub(r"\s+", " ", printed) for name in Chaos.names())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--chaos", "C99"], "there is no fault 'C99'; `superimap fake-imap --list` lists all"),
        (["--chaos", "C05=often"], "the rate after = must be a number from 0 to 1; got 'often'"),
        (["--chaos", "C05=7"], "a rate is between 0 and 1, not 7.0"),
        (["--scenario", "/nowhere.toml"], "Cannot read /nowhere.toml: No such file or directory"),
    ],
)
def test_the_command_explains_wrong_options(arguments, expected):
    result = CliRunner().invoke(app, ["fake-imap", "--port", "0", *arguments])

    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert expected in " ".join(result.output.replace("│", " ").split()) + str(result.exception)
