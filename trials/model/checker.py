"""One run of spin: a model with some definitions is compiled, explored, and the result is read."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

MODELS = Path(__file__).parents[2] / "docs" / "model"
PROGRAMS = ("spin", "gcc")
LONGEST_RUN_SECONDS = 3600
MAX_DEPTH_STEPS = 1_000_000
MAX_MEMORY_MIB = 6000


class CheckerError(Exception):
    """spin or the C compiler does not accept a model, or the exploration did not end."""


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """A model, and the definitions (`NAME=0`) of its bounds and guards.

    `fails` says that the exploration must find a violation. `is_shortest`: it is explored breadth first, so that
    the counterexample is the shortest one. `finds_cycles`: it looks for runs that never end, and for nothing else.
    `is_large`: it takes so long that an optimised program is worth its compilation.
    """

    model: str
    definitions: tuple[str, ...]
    fails: bool = False
    is_shortest: bool = True
    finds_cycles: bool = False
    is_large: bool = False

    @property
    def name(self) -> str:
        """The model and what is defined differently, as it is printed."""
        return " ".join((self.model, *self.definitions, *(["cycles"] if self.finds_cycles else [])))


@dataclass(frozen=True, slots=True)
class Exploration:
    """What spin found: states, seconds, MiB, the violated assertion or None, and the steps that lead to it."""

    states: int
    seconds: float
    mebibytes: float
    violation: str | None
    steps: list[tuple[str, ...]] = field(default_factory=list)


def missing_programs() -> list[str]:
    """Return the programs that a check needs and that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def explore(check: ModelCheck, folder: Path) -> Exploration:
    """Explore a model in an empty folder. Raises CheckerError."""
    source = f"{check.model}.pml"
    shutil.copy(MODELS / source, folder)
    defined = [f"-D{definition}" for definition in check.definitions]
    _run(["spin", "-a", *defined, source], folder)
    # Breadth first, the shortest counterexample is found; depth first, all states need less memory.
    order = (
        ["-DNP"] if check.finds_cycles else ["-DSAFETY", *(["-DBFS"] * (check.fails and check.is_shortest))]
    )
    kind = [*order, "-DCOLLAPSE", f"-DMEMLIM={MAX_MEMORY_MIB}"]
    _run(["gcc", "-O2" if check.is_large else "-O0", "-w", *kind, "-o", "pan", "pan.c"], folder)
    began = time.monotonic()
    how = ["-l"] * check.finds_cycles
    found = _run(["./pan", "-E", f"-m{MAX_DEPTH_STEPS}", *how], folder)
    seconds = time.monotonic() - began
    if "errors:" not in found or ("Search not completed" in found and "errors: 0" in found):
        raise CheckerError(f"{check.name} was not explored completely:\n{found}")
    violated = re.search(r"^pan:\d+: (.+?) \(at depth", found, re.M)
    return Exploration(
        states=int(_figure(r"(\d+) states, stored", found)),
        seconds=seconds,
        mebibytes=_figure(r"([\d.]+)\s+total actual memory usage", found),
        violation=violated[1] if violated else None,
        steps=_steps(_run(["spin", "-t", *defined, source], folder)) if violated else [],
    )


def _steps(replayed: str) -> list[tuple[str, ...]]:
    """The steps of a counterexample as the model prints them: who, what, and the state after it."""
    lines = (line.strip() for line in replayed.splitlines() if line.count("|") >= 2)
    return [tuple(" ".join(part.split()) for part in line.split("|", 2)) for line in lines]


def _figure(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=LONGEST_RUN_SECONDS
    )
    output = done.stdout + done.stderr
    if done.returncode and "pan:" not in output:
        raise CheckerError(f"{' '.join(command)} failed:\n{output[-2000:]}")
    return output
