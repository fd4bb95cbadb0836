"""JSON Schema of a configuration type, for completion and checks in an editor."""

from __future__ import annotations

import types
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from engine.config.convert import unwrap
from engine.config.scalars import choices
from engine.config.values import Duration, Secret

_VARIABLE: Final = {"type": "string", "pattern": r"^\$\{.+\}$"}
_DURATION: Final = r"^(\d+(\.\d+)?(ms|s|m|h|d))+$|^\$\{.+\}$"
_BOUNDS: Final = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "pattern": "pattern",
    "title": "title",
    "description": "description",
    "examples": "examples",
}


def schema(type_: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema 2020-12 of a file that `load` reads as `type_`; scalars may also be a `${VARIABLE}`."""
    definitions: dict[type, dict[str, Any]] = {}
    _of(type_, definitions)
    root = definitions.pop(type_)
    root["properties"] = {"$schema": {"type": "string"}} | root["properties"]
    root["patternProperties"] = {"^x-": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "$defs": {_name(cls, definitions): body for cls, body in definitions.items()},
    }


def _of(type_: Any, definitions: dict[type, dict[str, Any]]) -> dict[str, Any]:
    base, metas = unwrap(type_)
    origin = get_origin(base) or base
    if origin in (Union, types.UnionType):
        members = [Annotated[(member, *metas)] if metas else member for member in get_args(base)]
        return {"anyOf": [_of(member, definitions) for member in members]}
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        if base not in definitions:
            definitions[base] = {}  # a type that contains itself ends here
            definitions[base].update(_struct(base, definitions))
        return {"$ref": f"#/$defs/{_name(base, definitions)}"}
    if origin is dict:
        _, value = get_args(base) or (str, Any)
        return {"type": "object", "additionalProperties": _of(value, definitions)} | _lengths(
            metas, "Properties"
        )
    if origin in (list, tuple, set, frozenset):
        return _array(base, definitions) | _lengths(metas, "Items")
    return _leaf(base, metas)


def _struct(cls: type[msgspec.Struct], definitions: dict[type, dict[str, Any]]) -> dict[str, Any]:
    fields = msgspec.structs.fields(cls)
    properties: dict[str, Any] = {}
    for field in fields:
        properties[field.encode_name] = _of(field.type, definitions)
        if isinstance(field.default, str | int | float | bool):
            properties[field.encode_name] = properties[field.encode_name] | {"default": field.default}
    config = cls.__struct_config__
    if config.tag_field is not None:
        properties[config.tag_field] = {"const": config.tag}
    body: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := [field.encode_name for field in fields if field.required]:
        body["required"] = required
    if cls.__doc__:
        body["description"] = cls.__doc__.strip().partition("\n")[0]
    return body


def _array(base: Any, definitions: dict[type, dict[str, Any]]) -> dict[str, Any]:
    items = get_args(base) or (Any,)
    if get_origin(base) is tuple and items[-1] is not Ellipsis:
        prefix = [_of(item, definitions) for item in items]
        return {"type": "array", "prefixItems": prefix, "minItems": len(prefix), "maxItems": len(prefix)}
    return {"type": "array", "items": _of(items[0], definitions)}


def _leaf(base: Any, metas: list[Meta]) -> dict[str, Any]:
    rules = {
        word: getattr(meta, name)
        for meta in metas
        for name, word in _BOUNDS.items()
        if getattr(meta, name) is not None
    }
    if allowed := choices(base):
        return {"anyOf": [{"enum": list(allowed)}, _VARIABLE]} | rules
    if base in (str, Path):
        lengths = _lengths(metas, "Length")
        return (
            {"anyOf": [{"type": "string"} | lengths | rules, _VARIABLE]}
            if rules
            else {"type": "string"} | lengths
        )
    if base is Secret:
        return {"type": "string", "writeOnly": True} | rules
    if base is Duration:
        return {"anyOf": [{"type": "number", "minimum": 0} | rules, {"type": "string", "pattern": _DURATION}]}
    if base is Decimal:
        return {"anyOf": [{"type": "number"} | rules, {"type": "string"}]}
    names: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if base is type(None) or base not in names:
        return {"type": names[base]} if base in names else {}
    return {"anyOf": [{"type": names[base]} | rules, _VARIABLE]}


def _lengths(metas: list[Meta], what: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for meta in metas:
        if meta.min_length is not None:
            found[f"min{what}"] = meta.min_length
        if meta.max_length is not None:
            found[f"max{what}"] = meta.max_length
    return found


def _name(cls: type, definitions: dict[type, dict[str, Any]]) -> str:
    """The class name; with its module where two classes share one."""
    twins = [other for other in definitions if other.__name__ == cls.__name__]
    return cls.__name__ if len(twins) <= 1 or twins[0] is cls else f"{cls.__module__}.{cls.__name__}"
