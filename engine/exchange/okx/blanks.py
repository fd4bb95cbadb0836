"""OKX writes "" for what does not exist, an empty side of the book for instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from engine.core.errors import CodecError, Defect

T = TypeVar("T")


def read(decode: Callable[[bytes], T], frame: bytes) -> T:
    """Decode, with "" as null where the type wants a number: that is rare, so it is a second try.

    Raises CodecError.
    """
    try:
        return decode(frame)
    except msgspec.ValidationError:
        pass
    except (ValueError, RecursionError) as error:
        raise CodecError(f"no JSON of OKX: {error}", frame, Defect.SYNTAX) from error
    try:
        return decode(frame.replace(b'""', b"null"))
    except (ValueError, RecursionError) as error:
        raise CodecError(f"unexpected payload: {error}", frame) from error
