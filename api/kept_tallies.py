"""What was counted of the journal, in a file of the API's own folder: a start does not count years again."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import structlog

from api.tallies import Counted
from engine.embedded.folder import write_private

log = structlog.get_logger()

FILE: Final = "statistics.msgpack"


class _Content(msgspec.Struct, frozen=True):
    version: str
    counted: Counted


class KeptTallies:
    """Implements Kept. A file that is not there, broken or of another version is as if there was none."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._version = version("edgewise")

    def load(self) -> Counted | None:
        try:
            content = msgspec.msgpack.decode(self._path.read_bytes(), type=_Content)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("statistics not read, counted anew", path=str(self._path), error=str(error))
            return None
        return content.counted if content.version == self._version else None

    def save(self, counted: Counted) -> None:
        content = msgspec.msgpack.encode(_Content(self._version, counted))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._path, content)
        except OSError as error:
            log.warning("statistics not kept, counted anew at the next start", error=str(error))
