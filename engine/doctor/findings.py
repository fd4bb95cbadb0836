"""What `edgewise doctor` says of each thing that it looks at."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # it will run; somebody should look
    WRONG = "wrong"  # it will not start, or not trade


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and where that is not `ok` what to do."""

    subject: str
    state: State
    detail: str
