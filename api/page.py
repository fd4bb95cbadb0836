"""The description of the API as a page to read: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
details { border-bottom: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; }
summary code { font-weight: 600; } table { border-collapse: collapse; margin: .5rem 0 .8rem; }
td { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
.faint { opacity: .7; }
"""
_DEEPEST: Final = 3


def page(document: Mapping[str, Any], kinds: tuple[str, ...]) -> str:
    """HTML of an OpenAPI document; `kinds` are the events of the stream."""
    schemas = document["components"]["schemas"]
    routes = "\n".join(
        _route(path, operations["get"], schemas)
        for path, operations in sorted(document["paths"].items())
        if path != "/api/stream"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>edgewise API</title><style>{_STYLE}</style></head><body>
<h1>edgewise API {escape(document["info"]["version"])}</h1>
<p>Read-only. Every answer is JSON with an ETag; errors are <code>application/problem+json</code>. Pages are
newest first: pass <code>nextBefore</code> back as <code>before</code>. While the database is away the last
known answer comes with <code>X-Stale-Seconds</code>. The same as
<a href="/api/openapi.json">OpenAPI 3.1</a>.</p>
<details><summary><code>GET /api/stream</code>
<span class="faint">what happens, as server-sent events</span></summary>
<p>Kinds: {", ".join(f"<code>{kind}</code>" for kind in kinds)}; <code>?kinds=signal,fill</code> chooses.
<code>Last-Event-ID</code> continues; an event <code>gap</code> says that too much has happened
since.</p></details>
{routes}
</body></html>
"""


def _route(path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return (
        f"<details><summary><code>GET {escape(path)}</code>"
        f' <span class="faint">{escape(operation["summary"])}</span></summary>'
        f"{_parameters(operation['parameters'])}"
        f'<p class="faint">Answer</p>{_fields(answer, schemas, 0)}</details>'
    )


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(_type(each['schema']))}</td>"
        f"<td>{escape(str(each['schema'].get('description', '')))}</td></tr>"
        for each in parameters
    )
    return f'<p class="faint">Parameters</p><table>{rows}</table>'


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> str:
    """The fields of an object, those of what it holds within them."""
    found = _resolved(schema, schemas)
    if "items" in found:
        return _fields(found["items"], schemas, depth)
    inner = found.get("additionalProperties")
    if isinstance(inner, Mapping) and "properties" not in found:
        return _fields(inner, schemas, depth)
    properties = found.get("properties")
    if not properties or depth >= _DEEPEST:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(each))}</td>"
        f"<td>{_fields(each, schemas, depth + 1)}</td></tr>"
        for name, each in properties.items()
    )
    told = f"<p>{escape(found['description'])}</p>" if found.get("description") and depth == 0 else ""
    return f"{told}<table>{rows}</table>"


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
        return found
    for each in schema.get("anyOf", ()):
        if each.get("type") != "null":
            return _resolved(each, schemas)
    return schema


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}" if isinstance(schema["items"], Mapping) else "list"
    return str(schema.get("type", "any"))
