"""Frames of WebSocket cut out of what a socket brought, as far as they are short whole texts: nearly all are.

A frame is `0x81`, its size in a byte (or 126 and the size in two), and the text (RFC 6455, 5.2). All others,
and every rule of the protocol, are left to a library.
"""

from __future__ import annotations

from typing import Final

_WHOLE_TEXT: Final = 0x81  # final frame of a message, a text
_TWO_BYTES: Final = 126  # the size follows in two bytes
_EIGHT_BYTES: Final = 127
_MASKED: Final = 0x80
_MASK: Final = 4  # bytes


def cut(data: bytes, frames: list[bytes]) -> int:
    """Append the texts that `data` begins with to `frames`; where the first frame begins that is not cut."""
    at, end = 0, len(data)
    while at + 2 <= end:
        start, size = at + 2, data[at + 1]
        if data[at] != _WHOLE_TEXT or size > _TWO_BYTES:
            break
        if size == _TWO_BYTES:
            if at + 4 > end:
                break
            start, size = at + 4, data[at + 2] << 8 | data[at + 3]
        stop = start + size
        if stop > end:
            break
        frames.append(data[start:stop])
        at = stop
    return at


def is_cut(data: bytes) -> bool:
    """Whether `cut` takes the frame that begins here, once all of it came."""
    return data[0] == _WHOLE_TEXT and (len(data) == 1 or data[1] <= _TWO_BYTES)


def span(data: bytes) -> int:
    """Bytes of the frame that begins here, header and all; 0 while too little of its header came."""
    if len(data) < 2:  # noqa: PLR2004 - the shortest header
        return 0
    size = data[1] & ~_MASKED
    start = 2 + {_TWO_BYTES: 2, _EIGHT_BYTES: 8}.get(size, 0)
    if len(data) < start:
        return 0
    if start > 2:  # noqa: PLR2004
        size = int.from_bytes(data[2:start])
    return start + size + (_MASK if data[1] & _MASKED else 0)
