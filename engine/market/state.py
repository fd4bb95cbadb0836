"""Freeze a part into plain values and thaw it again: the state of the market pipeline across a restart.

A part is an object that names in `STATE` the attributes that change; all else comes from its constructor.
They hold scalars, market events, other parts, or lists, deques and dicts of these.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import msgspec

from engine.core.market import MarketEvent

Plain = Any  # None | bool | int | float | str | bytes | list[Plain] | dict[str, Plain]

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(MarketEvent)


@runtime_checkable
class Part(Protocol):
    STATE: ClassVar[tuple[str, ...]]


def freeze(value: object) -> Plain:
    """Plain values that `thaw` brings back bit for bit. Raises TypeError for what has no plain form."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, msgspec.Struct):
        return _ENCODER.encode(value)
    if isinstance(value, dict):
        return {key: freeze(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [freeze(item) for item in value]
    if isinstance(value, Part):
        return [freeze(getattr(value, name)) for name in value.STATE]
    raise TypeError(f"{type(value).__name__} has no plain form")


def shape(value: object) -> Plain:
    """What the states of a part mean: its name and those of what it remembers, and so for the parts in it.

    A state of the same length but another shape would thaw into the wrong places.
    """
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shape(item) for item in value]
    if isinstance(value, Part):
        return [type(value).__name__, *((name, shape(getattr(value, name))) for name in value.STATE)]
    return None


def thaw(value: object, state: Plain) -> Any:
    """What `value` becomes under `state`: parts are changed in place, the rest is returned anew.

    Raises ValueError when the state is of a part with another shape.
    """
    if isinstance(state, bytes):
        return _DECODER.decode(state)
    if isinstance(value, dict):
        return {key: thaw(value.get(key), item) for key, item in state.items()}
    if isinstance(value, deque):
        return deque(state, maxlen=value.maxlen)
    if isinstance(value, list | tuple):
        held = list(value)
        if held and isinstance(held[0], Part):
            items = [thaw(part, item) for part, item in zip(held, state, strict=True)]
        else:
            items = [thaw(None, item) for item in state]
        return type(value)(items)
    if isinstance(value, Part):
        for name, item in zip(value.STATE, state, strict=True):
            setattr(value, name, thaw(getattr(value, name), item))
    return value if isinstance(value, Part) else state
