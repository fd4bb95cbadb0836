"""YAML 1.2 text as a tree whose every node knows where it stands in the file.

Scalars keep their text, so that a type decides what it means: a Decimal is exact, and an all-digit key that
comes from the environment stays text. `${VAR}` is replaced here, duplicates are found, `<<` is merged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml import nodes as yaml_nodes
from ruamel.yaml.error import MarkedYAMLError, YAMLError

# $$, ${VAR}, ${VAR-text}, ${VAR:-text}, ${VAR?text}, ${VAR:?text} as in a shell; with the colon, an empty
# variable counts as one that is not set.
_VARIABLE: Final = re.compile(r"\$\$|\$\{([A-Za-z_]\w*)(?:(:?)([-?])([^}]*))?\}")
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"


class Kind(StrEnum):
    """What a scalar is by YAML's own rules."""

    NULL = "null"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STR = "str"


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in the file, counted from 1."""

    line: int
    column: int


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, and where: `path` is the way from the root, empty for the file itself."""

    mark: Mark
    path: tuple[str | int, ...]
    message: str


class Scalar(msgspec.Struct, frozen=True):
    """One value. `from_variable`: its text came from the environment, at least in part."""

    mark: Mark
    kind: Kind
    text: str
    from_variable: bool = False


class SequenceNode(msgspec.Struct, frozen=True):
    """A list."""

    mark: Mark
    items: tuple[Node, ...]


class Entry(msgspec.Struct, frozen=True):
    """A key's own place and its value."""

    mark: Mark
    value: Node


class MappingNode(msgspec.Struct, frozen=True):
    """Keys and values, in the order of the file."""

    mark: Mark
    entries: dict[str, Entry]


Node = Scalar | SequenceNode | MappingNode


def parse(text: str, env: Mapping[str, str], problems: list[Problem]) -> Node:
    """Read a document; what is wrong with it is added to `problems`. An empty one is an empty mapping."""
    yaml: Any = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(at.line + 1, at.column + 1) if at else Mark(1, 1)
        problems.append(Problem(mark, (), str(error.problem or error.context)))
        root = None
    except YAMLError as error:
        problems.append(Problem(Mark(1, 1), (), str(error).partition("\n")[0]))
        root = None
    if root is None:
        return MappingNode(Mark(1, 1), {})
    return _Builder(yaml, env, problems).node(root, ())


def locate(root: Node, path: tuple[str | int, ...]) -> Mark:
    """Where `path` stands; for a path that is not in the file, its nearest ancestor."""
    node, mark = root, root.mark
    for step in path:
        if isinstance(node, MappingNode) and (entry := node.entries.get(str(step))) is not None:
            node, mark = entry.value, entry.value.mark
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            mark = node.mark
        else:
            break
    return mark


class _Builder:
    """Turns ruamel's nodes into ours."""

    def __init__(self, yaml: Any, env: Mapping[str, str], problems: list[Problem]) -> None:
        self._resolver = yaml.resolver
        self._env = env
        self._problems = problems
        self._done: dict[int, Node] = {}  # an alias brings the same node again
        self._open: set[int] = set()

    def node(self, raw: Any, path: tuple[str | int, ...]) -> Node:
        if (known := self._done.get(id(raw))) is not None:
            return known
        mark = _mark(raw)
        if id(raw) in self._open:
            self._problems.append(Problem(mark, path, "the alias contains itself"))
            return Scalar(mark, Kind.NULL, "")
        self._open.add(id(raw))
        built: Node
        if isinstance(raw, yaml_nodes.MappingNode):
            built = MappingNode(mark, self._entries(raw, path))
        elif isinstance(raw, yaml_nodes.SequenceNode):
            built = SequenceNode(mark, tuple(self.node(item, (*path, i)) for i, item in enumerate(raw.value)))
        else:
            built = self._scalar(raw, path)
        self._open.discard(id(raw))
        self._done[id(raw)] = built
        return built

    def _entries(self, raw: Any, path: tuple[str | int, ...]) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in raw.value:
            if not isinstance(key, yaml_nodes.ScalarNode):
                self._problems.append(Problem(_mark(key), path, "a key must be plain text"))
            elif str(key.tag) == _MERGE_TAG:
                merged = self._merge(value, path) | merged
            elif key.value in own:
                self._problems.append(Problem(_mark(key), path, f"key {key.value!r} stands twice"))
            else:
                own[key.value] = Entry(_mark(key), self.node(value, (*path, key.value)))
        return merged | own

    def _merge(self, value: Any, path: tuple[str | int, ...]) -> dict[str, Entry]:
        node = self.node(value, path)
        sources = node.items if isinstance(node, SequenceNode) else (node,)
        merged: dict[str, Entry] = {}
        for source in sources:  # the first of several wins
            if isinstance(source, MappingNode):
                merged = source.entries | merged
            else:
                self._problems.append(Problem(_mark(value), path, "'<<' needs a mapping, as in <<: *name"))
        return merged

    def _scalar(self, raw: Any, path: tuple[str | int, ...]) -> Scalar:
        mark, tag, text, from_variable = _mark(raw), str(raw.tag), str(raw.value), False
        if "$" in text:
            replaced = _VARIABLE.sub(lambda match: self._variable(match, mark, path), text)
            from_variable = any(match[1] for match in _VARIABLE.finditer(text))
            if raw.style is None:  # plain: what it means follows from what it has become
                tag = str(self._resolver.resolve(yaml_nodes.ScalarNode, replaced, (True, False)))
            text = replaced
        kind = tag.rpartition(":")[2]
        return Scalar(mark, Kind(kind) if kind in tuple(Kind) else Kind.STR, text, from_variable)

    def _variable(self, match: re.Match[str], mark: Mark, path: tuple[str | int, ...]) -> str:
        if match[0] == "$$":
            return "$"
        name, colon, operator, text = match[1], match[2], match[3], match[4]
        value = self._env.get(name)
        if value is not None and (value or not colon):
            return value
        if operator == "-":
            return text
        hint = f": {text}" if text else "; set it, or add it to .env"
        self._problems.append(Problem(mark, path, f"environment variable {name} is not set{hint}"))
        return ""


def _mark(raw: Any) -> Mark:
    return Mark(raw.start_mark.line + 1, raw.start_mark.column + 1)
