"""The simulator's folder: a snapshot of the state, and a journal of the inputs after it.

`state` names the journal that follows it, so that a process which ends between the two steps of a save
leaves either the old pair or the new one. A journal is a row of lines, each with its length before it;
a last line that was cut by the end of the process is not there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Final

import msgspec

from engine.core.errors import ConfigError

_LENGTH: Final = struct.Struct("<I")


class _Snapshot(msgspec.Struct):
    generation: int
    state: bytes


class Store:
    """Bytes in, bytes out. Raises ConfigError for a folder that cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0
        self._journal: IO[bytes] | None = None

    def load(self) -> tuple[bytes | None, list[bytes]]:
        """The newest snapshot, None if there is none, and the journal after it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._folder / "state"
            if not path.exists():
                return None, []
            snapshot = msgspec.msgpack.decode(path.read_bytes(), type=_Snapshot)
            self._generation = snapshot.generation
            journal = self._path(snapshot.generation)
            return snapshot.state, _lines(journal.read_bytes()) if journal.exists() else []
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self._folder} holds no state of this simulator: {error}") from error
        except OSError as error:
            raise ConfigError(f"--state {self._folder} cannot be used: {error}") from error

    def append(self, line: bytes, *, flush: bool) -> None:
        """Add to the journal; with `flush` it survives the end of the process when this returns."""
        if self._journal is None:
            return
        self._journal.write(_LENGTH.pack(len(line)) + line)
        if flush:
            self._journal.flush()

    def save(self, state: bytes) -> None:
        """Replace the snapshot and begin a new journal."""
        self.close()
        old = self._path(self._generation)
        self._generation += 1
        self._journal = self._path(self._generation).open("wb")
        part = self._folder / "state.part"
        part.write_bytes(msgspec.msgpack.encode(_Snapshot(self._generation, state)))
        part.replace(self._folder / "state")
        old.unlink(missing_ok=True)

    def close(self) -> None:
        """Write out what is buffered."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _path(self, generation: int) -> Path:
        return self._folder / f"journal.{generation}"


def _lines(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        line = data[at + _LENGTH.size : at + _LENGTH.size + length]
        if len(line) < length:
            break
        found.append(line)
        at += _LENGTH.size + length
    return found
