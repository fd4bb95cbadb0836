"""A YAML tree as typed Structs, with every problem found and not only the first."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from engine.config.scalars import Misfit, choices, constrain, describe, plain, scalar, shape, shown
from engine.config.tree import Kind, MappingNode, Node, Problem, Scalar, SequenceNode, locate
from engine.config.values import Misplaced

_Path = tuple[str | int, ...]


class Invalid(Exception):
    """A node does not fit its type; what is wrong has been added to the problems."""


class Converter:
    """Converts nodes; `problems` collects what does not fit."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def value(self, node: Node, type_: Any, path: _Path) -> Any:
        """The node as `type_`. Raises Invalid when it does not fit."""
        base, metas = unwrap(type_)
        origin = get_origin(base) or base
        if base is Any:
            return plain(node)
        if origin in (Union, types.UnionType):
            return self._union(node, base, metas, path)
        if isinstance(base, type) and issubclass(base, msgspec.Struct):
            return self._struct(node, base, path)
        if origin is dict:
            return self._dict(node, base, metas, path)
        if origin in (list, tuple, set, frozenset):
            return self._sequence(node, origin, get_args(base), metas, path)
        return self._leaf(node, base, metas, path)

    def _fail(self, node: Node, path: _Path, message: str, below: _Path = ()) -> Invalid:
        self.problems.append(Problem(locate(node, below), path + below, message))
        return Invalid(message)

    def _leaf(self, node: Node, base: Any, metas: list[Meta], path: _Path) -> Any:
        if not isinstance(node, Scalar):
            raise self._fail(node, path, f"expected {describe(base)}, got a {shape(node)}")
        try:
            value = scalar(node, base)
            for meta in metas:
                constrain(value, meta)
        except Misfit as misfit:
            raise self._fail(node, path, str(misfit)) from misfit
        return value

    def _union(self, node: Node, base: Any, metas: list[Meta], path: _Path) -> Any:
        members = [member for member in get_args(base) if _accepts(member, node)]
        first: list[Problem] | None = None
        for member in members:
            attempt = Converter([])
            try:
                return attempt.value(node, Annotated[(member, *metas)] if metas else member, path)
            except Invalid:
                first = first or attempt.problems
        if first is None:
            raise self._fail(node, path, _no_member(node, get_args(base)))
        self.problems += first
        raise Invalid(first[0].message)

    def _struct(self, node: Node, cls: type[msgspec.Struct], path: _Path) -> Any:
        if not isinstance(node, MappingNode):
            raise self._fail(node, path, f"expected a mapping ({cls.__name__}), got {shown(node)}")
        fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
        tag_field = cls.__struct_config__.tag_field
        wrong = False
        for key, entry in node.entries.items():
            if key not in fields and key != tag_field:
                message = f"unknown key {key!r}{nearest(key, fields)}"
                self.problems.append(Problem(entry.mark, path, message))
                wrong = True
        values: dict[str, Any] = {}
        for key, field in fields.items():
            if (found := node.entries.get(key)) is not None:
                try:
                    values[field.name] = self.value(found.value, field.type, (*path, key))
                except Invalid:
                    wrong = True
            elif field.required:
                self.problems.append(Problem(node.mark, path, f"key {key!r} is missing"))
                wrong = True
        if wrong:
            raise Invalid(cls.__name__)
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:  # a rule between fields, from __post_init__
            below = error.path if isinstance(error, Misplaced) else ()
            raise self._fail(node, path, str(error), below) from error

    def _dict(self, node: Node, base: Any, metas: list[Meta], path: _Path) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise self._fail(node, path, f"expected a mapping, got {shown(node)}")
        key_type, value_type = get_args(base) or (str, Any)
        out: dict[str, Any] = {}
        wrong = False
        for key, entry in node.entries.items():
            try:
                name = self.value(Scalar(entry.mark, Kind.STR, key), key_type, path)
                out[name] = self.value(entry.value, value_type, (*path, key))
            except Invalid:
                wrong = True
        self._check_length(node, len(out), metas, path)
        if wrong:
            raise Invalid
        return out

    def _sequence(
        self,
        node: Node,
        origin: Callable[[Iterable[Any]], Any],
        args: tuple[Any, ...],
        metas: list[Meta],
        path: _Path,
    ) -> Any:
        if not isinstance(node, SequenceNode):
            raise self._fail(node, path, f"expected a list, got {shown(node)}")
        kinds = args or (Any,)
        if origin is tuple and kinds[-1] is not Ellipsis:
            if len(kinds) != len(node.items):
                raise self._fail(node, path, f"expected {len(kinds)} items, got {len(node.items)}")
        else:
            kinds = (kinds[0],) * len(node.items)
        out: list[Any] = []
        wrong = False
        for i, (item, kind) in enumerate(zip(node.items, kinds, strict=True)):
            try:
                out.append(self.value(item, kind, (*path, i)))
            except Invalid:
                wrong = True
        self._check_length(node, len(node.items), metas, path)
        if wrong:
            raise Invalid
        return origin(out)

    def _check_length(self, node: Node, length: int, metas: list[Meta], path: _Path) -> None:
        for meta in metas:
            if meta.min_length is not None and length < meta.min_length:
                raise self._fail(node, path, f"expected at least {meta.min_length} items, got {length}")
            if meta.max_length is not None and length > meta.max_length:
                raise self._fail(node, path, f"expected at most {meta.max_length} items, got {length}")


def unwrap(type_: Any) -> tuple[Any, list[Meta]]:
    """A type without its Annotated shell, and the constraints that stood on it."""
    if get_origin(type_) is Annotated:
        base, *metas = get_args(type_)
        inner, more = unwrap(base)
        return inner, more + [meta for meta in metas if isinstance(meta, Meta)]
    return type_, []


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known word that is spelt most like it, else the list of known words."""
    names = sorted(known)
    by_lower = {name.lower(): name for name in names}
    if close := difflib.get_close_matches(word.lower(), by_lower, 1):
        return f", did you mean {by_lower[close[0]]!r}?"
    return f" (known: {', '.join(names)})" if names else ""


def _accepts(member: Any, node: Node) -> bool:
    """Whether a member of a union is worth trying for this kind of node."""
    base, _ = unwrap(member)
    origin = get_origin(base) or base
    is_struct = isinstance(base, type) and issubclass(base, msgspec.Struct)
    if isinstance(node, MappingNode):
        config = base.__struct_config__ if is_struct else None
        if config is not None and config.tag is not None and config.tag_field is not None:
            entry = node.entries.get(config.tag_field)
            return entry is not None and plain(entry.value) == config.tag
        return is_struct or origin is dict
    if isinstance(node, SequenceNode):
        return origin in (list, tuple, set, frozenset)
    if base is type(None):
        return node.kind is Kind.NULL
    if node.kind in (Kind.NULL, Kind.BOOL) and not node.from_variable:
        return node.kind is Kind.BOOL and (base is bool or bool(choices(base)))
    if base is Decimal and node.kind is Kind.STR:
        return False  # beside text, a quoted number is text
    return not is_struct and origin not in (dict, list, tuple, set, frozenset)


def _no_member(node: Node, members: tuple[Any, ...]) -> str:
    """Why no member of a union takes the node."""
    structs = [m.__struct_config__ for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)]
    tags = {config.tag: config.tag_field for config in structs if config.tag is not None}
    if isinstance(node, MappingNode) and tags:
        field = next(iter(tags.values()))
        got = repr(plain(node.entries[field].value)) if field in node.entries else "missing"
        return f"key {field!r} is {got}, expected one of {', '.join(repr(tag) for tag in tags)}"
    expected = " or ".join(describe(unwrap(member)[0]) for member in members)
    return f"expected {expected}, got {shown(node)}"
