"""Configuration files to typed Structs: the one entry for the rest of edgewise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from engine.config.convert import Converter, Invalid, nearest
from engine.config.schema import schema
from engine.config.tree import MappingNode, Mark, Node, Problem, locate, parse
from engine.config.values import Duration, Secret
from engine.core.errors import ConfigError

T = TypeVar("T")
_ASSIGNMENT: Final = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")
_QUOTED: Final = re.compile(r"""(['"])(.*)\1\s*(?:#.*)?""")

__all__ = ["Duration", "Located", "Secret", "environment", "load", "load_located", "nearest", "schema"]


class Located(msgspec.Struct, Generic[T], frozen=True):
    """A loaded file that still knows where its keys stand, for rules that reach across files."""

    path: Path
    value: T
    root: Node

    def place(self, path: Iterable[str | int]) -> str:
        """`file:line:column: $.key` of the key at `path`, such as ("traders", 0, "model")."""
        steps = tuple(path)
        return _place(self.path, locate(self.root, steps), steps)

    def problem(self, path: Iterable[str | int], message: str) -> str:
        """One line of a ConfigError about the key at `path`."""
        return f"{self.place(path)}: {message}"


def load(path: Path, type_: type[T], env: Mapping[str, str]) -> T:
    """Read `path` as `type_`, with `${VAR}` from `env`.

    Raises ConfigError with all that is wrong, one `file:line:column: $.key: message` a line, in the order
    of the file.
    """
    return load_located(path, type_, env).value


def load_located(path: Path, type_: type[T], env: Mapping[str, str]) -> Located[T]:
    """As `load`, and keeps the places of the keys."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    problems: list[Problem] = []
    root = _without_extensions(parse(text, env, problems))
    if not problems:
        try:
            return Located(path, Converter(problems).value(root, type_, ()), root)
        except Invalid:
            pass
    once = {
        (problem.mark, problem.message): problem for problem in reversed(problems)
    }  # an alias repeats them
    ordered = sorted(once.values(), key=lambda problem: problem.mark)
    lines = (f"{_place(path, problem.mark, problem.path)}: {problem.message}" for problem in ordered)
    raise ConfigError("\n".join(lines))


def environment(base: Mapping[str, str], dotenv: Path) -> dict[str, str]:
    """The variables of `base` over those of a `.env` file, which need not be there.

    Raises ConfigError for a line of the file that is no `NAME=value`.
    """
    try:
        lines = dotenv.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return dict(base)
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            raise ConfigError(f"{dotenv}:{number}:1: expected NAME=value")
        quoted = _QUOTED.fullmatch(match[2])
        found[match[1]] = quoted[2] if quoted else re.split(r"\s+#", match[2])[0].strip()
    return found | dict(base)


def _without_extensions(root: Node) -> Node:
    """Drop top-level keys `x-...`, the place for anchors, as in compose files."""
    if not isinstance(root, MappingNode):
        return root
    kept = {key: entry for key, entry in root.entries.items() if not key.startswith("x-")}
    return MappingNode(root.mark, kept)


def _place(path: Path, mark: Mark, steps: tuple[str | int, ...]) -> str:
    keys = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return f"{path}:{mark.line}:{mark.column}: ${keys}"
