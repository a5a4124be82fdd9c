"""The commands `superimap sweeps`: what is requested, listed and changed, and the progress bar."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from superimap.cli import sweeps

WHERE = ("acme", "PLAIN", "ada")


@pytest.fixture
def installed(superimap):
    """The connected user ada of the partner acme."""
    superimap("migrate")
    superimap("partners", "create", "acme")
    superimap("connections", "create", "acme", "PLAIN")
    superimap("users", "create", *WHERE, "--login-username", "ada", "--login-password", "secret")


def test_a_sweep_is_created_listed_and_changed(superimap, ask, installed):
    options = ("--since", "2026-06-01", "--folder", "Archive", "--limit", "7", "--oldest-first", "--dry-run")
    made = ask("sweeps", "create", *WHERE, *options)
    said = [
        superimap("sweeps", change, *WHERE, str(made["id"])).stdout
        for change in ("pause", "resume", "cancel")
    ]

    wanted = {"folder": "Archive", "max_mails": 7, "direction": "oldest", "dry_run": True, "again": False}
    assert {name: made[name] for name in wanted} == wanted
    assert made["since"].startswith("2026-06-01T00:00:00")
    assert [line.split()[-1] for line in said] == ["paused.", "waiting.", "cancelled."]
    (listed,) = ask("sweeps", "list", *WHERE)
    assert (listed["id"], listed["state"]) == (made["id"], "cancelled")
    assert ask("sweeps", "show", *WHERE, str(made["id"]))["unreadable_mails"] == []
    assert "0 of ?" in superimap("sweeps", "list", *WHERE).stdout
    assert "already" in superimap("sweeps", "pause", *WHERE, str(made["id"]), code=1).stderr
    assert "Sweep not found" in superimap("sweeps", "show", *WHERE, "999", code=1).stderr


def test_following_a_sweep_ends_when_it_has_ended(superimap, ask, installed, database_url, monkeypatch):
    made = ask("sweeps", "create", *WHERE)

    async def finish(_seconds: float) -> None:
        db = await asyncpg.connect(database_url)
        await db.execute("UPDATE sweeps SET state = 'finished', finished_at = now(), done = 9, sent = 8")
        await db.close()

    monkeypatch.setattr(asyncio, "sleep", finish)

    assert ask("sweeps", "show", *WHERE, str(made["id"]), "--follow")["sent"] == 8


def test_the_progress_is_a_bar_and_a_sentence():
    row = {"done": 5000, "total": 20_000, "sent": 4000, "known": 1000, "state": "running", "reason": None}

    assert sweeps.progress_line(row) == (
        "[########----------------------] 5,000 of 20,000, 4,000 sent, 1,000 known; running"
    )
    waiting = row | {"total": None, "state": "waiting", "reason": "the mailbox is suspended"}
    assert sweeps.progress_line(waiting).endswith(
        "] searching, 4,000 sent, 1,000 known; waiting; the mailbox is suspended"
    )
