"""Files that a person named, and what is said when they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.errors import ConfigError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For the block that opens and writes `path`. Raises ConfigError where the machine refuses."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
