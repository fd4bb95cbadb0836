"""Which build runs: the hot paths are Python, or the same source compiled to C (`make compiled`)."""

from __future__ import annotations

import platform
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

_HOT: Final = "engine.market.pipeline"  # compiled in every compiled build


def compiled() -> bool:
    """Whether the hot paths are compiled."""
    found = find_spec(_HOT)
    return found is not None and (found.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def described() -> str:
    """For people: version, kind of build, and the Python that runs it."""
    kind = "compiled" if compiled() else "pure Python"
    return f"{version('edgewise')}, {kind}, on Python {platform.python_version()}"
