"""The folder of the embedded servers: who owns it, who may enter, and what it keeps secret.

.edgewise/            0700 (as root: root's, and the group of Postgres' user may pass: 0710)
  owner.lock          held by the one supervisor
  passwords.json      0600, made once
  addresses.json      0600
  postgres/data       of Postgres' user, 0700
  valkey/             0700
  run/postgres        sockets, 0700 each; a short folder in /tmp when the path is too long for a socket
  run/valkey
  *.lock, *.log       one each a server
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from engine.core.errors import ConfigError
from engine.lifeline import Reach

_LONGEST_SOCKET_PATH: Final = 103  # sun_path: 104 bytes with its end on macOS, 108 on Linux
_LONGEST_SOCKET_NAME: Final = "postgres/.s.PGSQL.5432.lock"
_LONGEST_LOG_BYTES: Final = 8 << 20
_UNPRIVILEGED: Final = "nobody"


class Passwords(msgspec.Struct, frozen=True):
    """One password a user and server, made when the folder is made."""

    postgres_superuser: str
    postgres_owner: str
    postgres_reader: str
    valkey_owner: str
    valkey_reader: str


class ServerUser(msgspec.Struct, frozen=True):
    """Whom Postgres runs as."""

    uid: int
    gid: int


class ServerFolder:
    """Claims a folder for one supervisor and prepares it. `claim` first, `release` last."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.sockets = self.home / "run"
        self.postgres = self.home / "postgres"
        self.valkey = self.home / "valkey"
        self.postgres_user: ServerUser | None = None
        self._owner_fd: int | None = None

    def claim(self) -> None:
        """Make the folder if need be and take it for this process.

        Raises ConfigError when another supervisor has it or this user may not use it.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = lock_file(self.home / "owner.lock")
        except OSError as error:
            raise ConfigError(f"{self.home} cannot be used: {error.strerror}: {error.filename}") from error
        if fd is None:
            raise ConfigError(f"{self.home} is in use by another edgewise; stop it or set EDGEWISE_HOME")
        self._owner_fd = fd
        try:
            self._prepare()
        except PermissionError as error:
            self.release()
            raise ConfigError(f"{error.filename} belongs to another user: {error.strerror}") from error

    def release(self) -> None:
        """Give the folder up; removes the sockets."""
        if self._owner_fd is None:
            return
        shutil.rmtree(self.sockets, ignore_errors=True)
        os.close(self._owner_fd)
        self._owner_fd = None

    def passwords(self) -> Passwords:
        """The passwords, made at the first call. Raises ConfigError when they are lost but data is there."""
        path = self.home / "passwords.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Passwords)
        except FileNotFoundError:
            if (self.postgres / "data").exists():
                raise ConfigError(
                    f"{path} is gone, and with it the way into the database: restore it or delete {self.home}"
                ) from None
        made = Passwords(*(secrets.token_urlsafe(24) for _ in Passwords.__struct_fields__))
        write_private(path, msgspec.json.encode(made))
        return made

    def log_path(self, server: str) -> Path:
        """Log file of a server; the old one is moved aside when it has grown too long."""
        path = self.home / f"{server}.log"
        if path.exists() and path.stat().st_size > _LONGEST_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path

    def postgres_reach(self, binaries: Path) -> Reach:
        """What Postgres' user needs beyond its own rights to reach the program and its data."""
        user = self.postgres_user
        if user is None:
            return Reach.OWN
        if not _may(binaries / "postgres", user, 0o5) or not _may(binaries / "initdb", user, 0o5):
            return Reach.PROGRAMS
        places = (binaries / "postgres", self.postgres / "data", self.sockets / "postgres")
        return Reach.FOLDERS if any(blocked_at(place, user) for place in places) else Reach.OWN

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            self.postgres_user = self._user_below_root()
        self._forget_old_sockets()
        if len(os.fsencode(self.sockets / _LONGEST_SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
            # /tmp and not TMPDIR: that one may be as long as the path that did not fit.
            self.sockets = Path(tempfile.mkdtemp(prefix="edgewise-", dir="/tmp"))
            write_private(self.home / "sockets_at", os.fsencode(self.sockets))
        for folder in (self.home, self.sockets):
            self._make(folder, passable=True)
        for folder in (self.valkey, self.sockets / "valkey"):
            self._make(folder)
        for folder in (self.postgres, self.sockets / "postgres"):
            self._make(folder, user=self.postgres_user)

    def _make(self, folder: Path, *, user: ServerUser | None = None, passable: bool = False) -> None:
        folder.mkdir(exist_ok=True, mode=0o700)
        if user is not None:
            os.chown(folder, user.uid, user.gid)
        if passable and self.postgres_user is not None:
            os.chown(folder, 0, self.postgres_user.gid)
            folder.chmod(0o710)
        else:
            folder.chmod(0o700)

    def _user_below_root(self) -> ServerUser:
        """The owner of existing data, else nobody."""
        data = self.postgres / "data"
        if data.exists() and (owner := data.stat()).st_uid != 0:
            return ServerUser(owner.st_uid, owner.st_gid)
        try:
            entry = pwd.getpwnam(_UNPRIVILEGED)
        except KeyError:
            raise ConfigError(
                f"Postgres refuses to run as root, and there is no user {_UNPRIVILEGED!r}: "
                "start edgewise as an ordinary user"
            ) from None
        return ServerUser(entry.pw_uid, entry.pw_gid)

    def _forget_old_sockets(self) -> None:
        """Remove what a supervisor that was killed left: sockets, and lock files with a dead pid."""
        pointer = self.home / "sockets_at"
        if pointer.exists():
            old = Path(os.fsdecode(pointer.read_bytes()))
            if old.name.startswith("edgewise-") and old.is_dir() and old.stat().st_uid == os.geteuid():
                shutil.rmtree(old, ignore_errors=True)
            pointer.unlink()
        shutil.rmtree(self.home / "run", ignore_errors=True)


def in_use(home: Path) -> bool:
    """Whether a living process has the servers of this folder."""
    path = home / "owner.lock"
    if not path.exists():
        return False
    fd = lock_file(path)
    if fd is not None:
        os.close(fd)
    return fd is None


def lock_file(path: Path) -> int | None:
    """Descriptor of the file with an exclusive lock on it; None when a living process has the lock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads; whole or not at all, also when the power fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def blocked_at(path: Path, user: ServerUser) -> Path | None:
    """The first folder on the way to `path` that `user` may not pass; None when the way is free."""
    for folder in reversed(path.absolute().parents):
        if folder.exists() and not _may(folder, user, 0o1):
            return folder
    return None


def _may(path: Path, user: ServerUser, want: int) -> bool:
    """Whether mode and owner grant `want` (r 4, w 2, x 1) to the user; access lists are not looked at."""
    found = path.stat()
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid == user.gid else 0
    return (stat.S_IMODE(found.st_mode) >> shift) & want == want
