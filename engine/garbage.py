"""The collector of garbage, in a process that runs for weeks and must not stop for long."""

from __future__ import annotations

import gc
from typing import Final

_YOUNG: Final = 10_000  # new objects before a look at the young; Python's 700 are few for a market's frames


def settle() -> None:
    """Call once all parts are built: what lives until then is not looked at again.

    A whole collection walks over every object there is, modules and parts included, which takes tens of
    milliseconds in which no frame is read. What is built later is collected as ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
