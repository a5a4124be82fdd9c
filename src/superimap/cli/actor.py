"""The operator who runs a command, for the audit log."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from superimap.domain.audit import Actor


def operator() -> Actor:
    """Return the user of the operating system; with sudo, also the user who called it."""
    from superimap.domain.audit import Actor, ActorKind

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run as users without an entry
        name = str(os.getuid())
    caller = os.environ.get("SUDO_USER")
    return Actor(ActorKind.OPERATOR, f"{caller} as {name}" if caller else name)
