"""What Redis answers about streams, as values of ours: pure functions over the driver's replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.stream_reader import Entry, GroupInfo

FIELD: Final = b"m"  # of a stream entry: the envelope


def text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def entry(pair: Any) -> Entry:
    """One (id, fields) of a reply, raw ones in a flat list; a message that was trimmed away has none."""
    message_id, fields = pair
    if isinstance(fields, list):
        fields = dict(zip(fields[::2], fields[1::2], strict=True))
    return text(message_id), (fields or {}).get(FIELD)


def entries(reply: Any) -> list[Entry]:
    """The entries of a reply about one stream, in the shapes of both protocol versions."""
    streams = list(reply.values()) if isinstance(reply, dict) else [pair[1] for pair in reply or ()]
    pairs = streams[0] if streams else []
    if pairs and isinstance(pairs[0], list) and (not pairs[0] or isinstance(pairs[0][0], tuple | list)):
        pairs = pairs[0]
    return [entry(pair) for pair in pairs]


def group_info(row: Mapping[str, Any]) -> GroupInfo:
    """One row of XINFO GROUPS."""
    return GroupInfo(
        name=text(row["name"]),
        consumers=row["consumers"],
        pending=row["pending"],
        last_delivered=text(row["last-delivered-id"]),
        lag=row.get("lag"),
    )
