"""What tracing is told: a step with its beginning and end, by the names of what it stands for.

A trace and a span are found again by their names alone: those of decision cycles are in
engine.telemetry.tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec


class SpanKind(StrEnum):
    INTERNAL = "internal"
    CLIENT = "client"  # a question to somebody outside
    SERVER = "server"  # an answer to one


class Mark(msgspec.Struct, frozen=True):
    """Something that happened at one moment of a span."""

    name: str
    ts: int
    attributes: Mapping[str, str]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One step of something. `key` is unique in its trace, `parent` another's key, "" for the first step.

    `error` says why the step failed, "" when it did not.
    """

    name: str
    trace: str
    key: str
    parent: str
    ts_start: int
    ts_end: int
    attributes: Mapping[str, str | int | float]
    marks: tuple[Mark, ...] = ()
    error: str = ""
    kind: SpanKind = SpanKind.INTERNAL


Export = Callable[[Span], None]
