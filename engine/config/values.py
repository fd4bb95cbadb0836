"""Types of values that configuration files need beyond those of the language."""

from __future__ import annotations

import math

from engine.core.times import parse_duration_s


class Duration(float):
    """A length of time in seconds; in a file `15s`, `3m`, `1h30m`, `250ms`, or a bare number of seconds."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read the text of a file. Raises ValueError for anything that is no duration of zero or more."""
        try:
            seconds = float(text)
        except ValueError:
            seconds = parse_duration_s(text)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"{text!r} is not a duration such as 15s, 3m or 1h")
        return cls(seconds)


class Misplaced(ValueError):
    """A rule of a Struct is broken by what stands at `path` below it; the loader names the line."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class Secret:
    """A key or a password: shown as `***` wherever it is printed, given away only by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; call it where it is used, and keep no copy."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"


def plain(value: object) -> object:
    """Encoder hook: a duration as seconds, a secret as stars. Raises NotImplementedError for other types."""
    if isinstance(value, Duration):
        return float(value)
    if isinstance(value, Secret):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no place in a configuration")
