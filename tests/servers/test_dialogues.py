"""Mutated dialogues of real servers do no harm: no error, no wrong bytes, no hang, no effect on others."""

import random

from fixtures.world import World
from trials.fuzz import recorded
from trials.fuzz.dialogues import fuzz_idler
from trials.fuzz.mutations import mutant

SEED = 1
CORPUS = list(recorded.corpus().values())


async def test_mutated_dialogues_do_no_harm(world: World):
    report = await fuzz_idler(world, CORPUS, seed=SEED, seconds=2)

    assert report.broken == []
    assert report.plays > 20
    assert report.mails > 0


def test_a_recorded_dialogue_is_read_as_it_was_written():
    for exchanges in CORPUS:
        assert recorded.from_text(recorded.as_text(exchanges)) == exchanges
        assert {"LOGIN", "EXAMINE", "IDLE"} <= {each.kind for each in exchanges}


def test_tags_and_credentials_are_not_recorded():
    parts = [(True, b"* OK\r\n"), (False, b'X1 LOGIN "ann" "planted-password"\r\n'), (True, b"X1 OK X1\r\n")]

    text = recorded.as_text(recorded.from_parts(parts))

    assert text == "S: * OK\nC: LOGIN\nS: {tag} OK X1\n"


def test_the_same_seed_makes_the_same_mutants():
    first, second = (
        [mutant(CORPUS, random.Random(f"{SEED} {number}")) for number in range(50)] for _ in range(2)
    )

    assert first == second
    assert any(names for _, names in first)
