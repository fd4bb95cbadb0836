"""OpenAPI 3.1, made from the same types that check queries and write answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from api.endpoint import Endpoint
from api.http import Problem

_REF: Final = "#/components/schemas/{name}"
_IN_PATH: Final = re.compile(r"{(\w+)}")


def document(endpoints: Sequence[Endpoint[Any]], version: str) -> dict[str, Any]:
    """The description of `endpoints`, ready to be encoded."""
    answers, components = msgspec.json.schema_components(
        [endpoint.answer for endpoint in endpoints] + [Problem], ref_template=_REF
    )
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "edgewise, read-only API", "version": version},
        "paths": {
            endpoint.path: {"get": _operation(endpoint, answer)}
            for endpoint, answer in zip(endpoints, answers, strict=False)
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
    numbers: dict[str, Any] = _with_numbers(described)
    return numbers


def _with_numbers(part: Any) -> Any:
    """The same with Decimals as what they are on this wire: JSON numbers with all their digits."""
    if isinstance(part, dict):
        if part.get("format") == "decimal":
            return {name: value for name, value in part.items() if name != "format"} | {"type": "number"}
        return {name: _with_numbers(value) for name, value in part.items()}
    return [_with_numbers(value) for value in part] if isinstance(part, list) else part


def _operation(endpoint: Endpoint[Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": endpoint.path.removeprefix("/api/").replace("/{", "-by-").replace("}", ""),
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
            **{status: _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


_PROBLEMS: Final = {
    "400": "The query is wrong",
    "401": "A token is asked for",
    "404": "It is not there",
    "429": "Too many requests",
    "503": "The database is away",
}


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name="Problem")}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


def _parameters(endpoint: Endpoint[Any]) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(endpoint.query)
    described = schema["$defs"][endpoint.query.__name__]
    fields, needed = described["properties"], set(described.get("required", ()))
    in_path = set(_IN_PATH.findall(endpoint.path))
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path or name in needed,
            "schema": field,
        }
        for name, field in fields.items()
    ]
