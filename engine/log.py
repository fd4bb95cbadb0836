"""Logging: one JSON line a fact, engine time and wall time, and never a secret.

`configure` once a process; everywhere else `log = structlog.get_logger()` and
`log.info("order filled", order=...)`. Records of the standard library's logging (aiohttp, asyncio) leave
through the same processors. On a terminal the lines are for people instead.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, BinaryIO, Final, cast

import orjson
import structlog
from structlog.typing import Processor

from engine.clock import Clock, SystemClock
from engine.core.times import iso

HIDDEN: Final = "***"
# What a task's lines are about, and those of the tasks that it starts: a decision cycle, or a message.
TRACE: Final[ContextVar[str]] = ContextVar("trace", default="")
_DEEPEST: Final = 8
_LARGEST_JSON_INT: Final = 2**63
# The last word of a field's name: `api_key`, `OK-ACCESS-SIGN`, `secretKey`; not the counts `prompt_tokens`.
_SECRET_NAME: Final = re.compile(
    r"(?:^|[_\-.\s])(?:(?:api)?key|secrets?|passphrase|passwords?|passwd|authorization|token|cookie|sign|"
    r"signature|credentials?)$",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
# A password inside an address, a bearer token, a model provider's key: wherever they stand in a text.
_SECRET_TEXT: Final = re.compile(
    r"(?P<address>\b\w+://[^:/@\s]*:)[^@\s]+(?=@)|(?P<bearer>\bBearer\s+)[^\s'\"]+|(?P<key>\bsk-)[\w-]{8,}"
)
# A line a request, "Using selector", a line a socket; what matters of them is told by who uses them.
_NOISY: Final = ("aiohttp.access", "asyncio", "httpx", "httpx2", "picows", "websockets")


_Render = Callable[[Any, str, MutableMapping[str, Any]], str]


def configure(
    clock: Clock, level: str = "INFO", process: str = "edgewise", out: BinaryIO | None = None
) -> None:
    """Send all logging of this process to `out` (standard error): JSON, or lines for people on a terminal.

    Every line carries `ts` (engine time), `wall` (UTC) and `process`. level: the lowest that is written.
    Raises KeyError for a level that there is not.
    """
    target = out or sys.stderr.buffer
    is_terminal = target.isatty()
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared(clock, process, is_terminal=is_terminal)
    render: _Render = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback, timestamp_key="ts")
        if is_terminal
        else _to_json
    )

    def to_bytes(logger: Any, name: str, event: MutableMapping[str, Any]) -> bytes:
        return render(logger, name, event).encode(errors="replace")

    structlog.configure(
        processors=[*shared, to_bytes],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _Lossy(target))),
        cache_logger_on_first_use=False,
    )
    _configure_standard_library(cast("BinaryIO", _Lossy(target)), numeric, shared, render)


def _shared(clock: Clock, process: str, *, is_terminal: bool) -> list[Processor]:
    """What every line goes through before it is rendered."""
    # Never the local variables of a traceback: they hold keys, and headers that hold keys.
    no_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        add_trace,
        structlog.processors.add_log_level,
        _Stamp(clock, process),
        structlog.processors.format_exc_info
        if is_terminal
        else structlog.processors.ExceptionRenderer(no_locals),
        redact,
    ]


def _configure_standard_library(
    target: BinaryIO, level: int, shared: list[Processor], render: _Render
) -> None:
    handler = _Lines(target)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared], processors=[remove_meta, render]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def add_trace(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The trace of the task that writes the line."""
    if trace := TRACE.get():
        event.setdefault("trace", trace)
    return event


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide every value whose name, or whose text, is that of a secret; also inside mappings and lists."""
    for name, value in event.items():
        event[name] = _clean(name, value, 0)
    return event


def _clean(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, int) and abs(value) >= _LARGEST_JSON_INT:
        return str(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_NAME.search(_CAMEL.sub("_", name)):
        return HIDDEN
    if isinstance(value, str):
        return _text(value)
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {_text(str(key)): _clean(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, bytes):
        return _clean(name, value.decode(errors="replace"), depth)
    if isinstance(value, Sequence | set | frozenset):
        return [_clean(name, item, depth + 1) for item in value]
    return _text(str(value))


def _text(value: str) -> str:
    if not value.isascii():  # half a surrogate pair, as broken frames bring it, is no UTF-8
        value = value.encode(errors="backslashreplace").decode()
    return _SECRET_TEXT.sub(_hide, value)


def _hide(match: re.Match[str]) -> str:
    return next(kept for kept in match.groupdict().values() if kept is not None) + HIDDEN


class _Lossy:
    """A target whose lines are lost while it cannot be written: a full disk, a reader that left, or closed.

    Nobody who trades may stop because a line about it could not be kept.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target

    def write(self, line: bytes) -> int:
        with suppress(OSError, ValueError):
            return self._target.write(line)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._target.flush()


class _Lines(logging.Handler):
    """Writes what the formatter makes, a line a record."""

    def __init__(self, target: BinaryIO) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        self._target.write(self.format(record).encode(errors="replace") + b"\n")
        self._target.flush()


class _Stamp:
    """Adds the times and the process to a line."""

    def __init__(self, clock: Clock, process: str) -> None:
        self._clock = clock
        self._wall = SystemClock()
        self._process = process

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        stamp = {"ts": iso(self._clock.now_ns()), "wall": iso(self._wall.now_ns()), "process": self._process}
        return {**stamp, **event}


def _to_json(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event).decode()
