"""Scenarios: TOML files that list chaos cases with their rates, users and times."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from superimap.testing.chaos.server import Chaos, find
from superimap.testing.imap.server import ImapServer

_NUMBERS = {"rate", "times", "after", "until"}


class ScenarioError(ValueError):
    """The file is not a valid scenario. The text says where and why."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A list of cases: `name`, and the keyword arguments of `Chaos.add`.

    seed = 7
    [[case]]
    name = "C05 bye in idle"
    rate = 0.1
    only = ["joe"]
    times = 3
    after = 10
    seconds = 2
    """

    cases: tuple[dict[str, Any], ...]
    seed: int = 1
    title: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a scenario file. Raises OSError, ScenarioError."""
        return cls.loads(Path(path).read_text(encoding="utf-8"), title=Path(path).name)

    @classmethod
    def loads(cls, text: str, *, title: str = "scenario") -> Self:
        """Parse the text of a scenario. Raises ScenarioError."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ScenarioError(f"{title}: {error}") from error
        cases, seed = content.pop("case", []), content.pop("seed", 1)
        if content or not isinstance(cases, list) or not isinstance(seed, int):
            raise ScenarioError(f"{title}: only `seed`, a number, and [[case]] are allowed")
        for number, each in enumerate(cases, 1):
            _check(each, f"{title}: case {number}")
        return cls(tuple(cases), seed, title)

    def arm(self, server: ImapServer) -> Chaos:
        """Arm all cases on a server. Raises ScenarioError."""
        chaos = Chaos(server, seed=self.seed)
        try:
            self.add_to(chaos)
        except ScenarioError:
            chaos.close()
            raise
        return chaos

    def add_to(self, chaos: Chaos) -> None:
        """Add the cases to an existing Chaos, and use its seed. Raises ScenarioError."""
        for each in self.cases:
            try:
                chaos.add(**each)
            except (ValueError, TypeError) as error:
                raise ScenarioError(f"{self.title}: {each['name']}: {error}") from error


def _check(each: object, where: str) -> None:
    if not isinstance(each, dict) or not isinstance(each.get("name"), str):
        raise ScenarioError(f"{where} has no name")
    try:
        find(each["name"])
    except ValueError as error:
        raise ScenarioError(f"{where}: {error}") from error
    for name in _NUMBERS & each.keys():
        if isinstance(each[name], bool) or not isinstance(each[name], int | float):
            raise ScenarioError(f"{where}: {name} must be a number")
    only = each.get("only", [])
    if not isinstance(only, str) and not (isinstance(only, list) and all(isinstance(x, str) for x in only)):
        raise ScenarioError(f"{where}: only must be a list of user names")
