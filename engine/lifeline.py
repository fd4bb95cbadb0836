"""Children that end with their parent, even when it is killed with -9.

The file is two things. Imported, it builds the command line of such a child (`tied`). Run as a script, it is
the few milliseconds between fork and exec in which the child ties itself to its parent: Linux offers
PR_SET_PDEATHSIG for that; elsewhere a watcher process waits on a pipe that closes when the parent dies.
A script and not `preexec_fn`: that runs Python after fork in a process that may have threads.

As root it can also change to another user (Postgres refuses root). Where files that this user needs lie
below a folder that only root may enter, as in a clone in root's home, it keeps one capability (`Reach`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final

# <linux/prctl.h>, <linux/securebits.h>, <linux/capability.h>
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECUREBITS: Final = 28
_SECBIT_NO_SETUID_FIXUP: Final = 1 << 2
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1
_CAP_DAC_READ_SEARCH: Final = 2

PIPED: Final = not sys.platform.startswith("linux")
"""Whether children are tied by a pipe, because the kernel does not offer more."""


class Reach(IntEnum):
    """What a child that stops being root may still do with files that are not its own."""

    OWN = 0
    FOLDERS = 1  # pass through every folder (CAP_DAC_READ_SEARCH)
    PROGRAMS = 2  # also start programs that only root may start (CAP_DAC_OVERRIDE)


def tied(
    argv: Sequence[str | Path],
    death_signal: signal.Signals,
    *,
    uid_gid: tuple[int, int] | None = None,
    reach: Reach = Reach.OWN,
    piped: bool = PIPED,
) -> list[str]:
    """Command line that becomes `argv`, tied to the calling process; same pid, no shell.

    death_signal: what the child gets when the parent's process (on Linux: the thread that started the
    child) ends. uid_gid: become this user first, keeping no right but `reach`.
    piped: the child's stdin is that of a Leash, and it finds its own stdin empty; without, and without
    Linux, the child is not tied.
    """
    user = "-" if uid_gid is None else f"{uid_gid[0]}:{uid_gid[1]}:{int(reach)}"
    options = [str(os.getpid()), str(int(death_signal)), user, str(int(piped))]
    return [sys.executable, "-I", "-S", __file__, *options, *(str(word) for word in argv)]


class Leash:
    """What a tied child gets as stdin: an empty file, or the pipe whose other end lives as long as we.

    asyncio's own pipe will not do: it counts a process as running while anybody has its stdin open.
    """

    def __init__(self, *, piped: bool = PIPED) -> None:
        self._held: int | None = None
        if piped:
            self.stdin, self._held = os.pipe()
        else:
            self.stdin = os.open(os.devnull, os.O_RDONLY)

    def hand_over(self) -> None:
        """The child is started (or could not be): close its end here."""
        os.close(self.stdin)

    def release(self) -> None:
        """The child has ended: its watcher may go, and must not signal a pid that is nobody's now."""
        if self._held is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._held, b"x")
            os.close(self._held)
            self._held = None


def _main(words: Sequence[str]) -> None:
    parent, death_signal, user, piped, *argv = words
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
    if user != "-":
        uid, gid, reach = (int(part) for part in user.split(":"))
        _become(libc, uid, gid, Reach(reach))
    if piped == "1":
        _watch(int(death_signal))
    elif libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent ended before the child began")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - argv comes from `tied`; no shell is the point
    except OSError as error:
        sys.exit(f"cannot start {argv[0]}: {error.strerror}")


def _become(libc: ctypes.CDLL | None, uid: int, gid: int, reach: Reach) -> None:
    if reach and libc is not None:
        # Leaves the capabilities alone when the user changes, and lets access(2) count them: Postgres
        # looks with it for its own programs.
        libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if reach:
        # Docker's default set has only DAC_OVERRIDE; the weaker right is taken where it is to be had.
        wanted = [_CAP_DAC_OVERRIDE] if reach is Reach.PROGRAMS else [_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE]
        if libc is None or not any(_keep(libc, capability) for capability in wanted):
            sys.exit("this root may not hand on the right to enter folders (CAP_DAC_OVERRIDE, CAP_SETPCAP)")


def _keep(libc: ctypes.CDLL, capability: int) -> bool:
    """Keep one capability over exec as an ordinary user and drop the others. False: root has not got it."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; twice 32 bits
    if libc.capset(header, sets) != 0:
        return False
    return bool(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


def _watch(death_signal: int) -> None:
    """Leave a watcher behind that signals this process when stdin, the parent's pipe, ends."""
    target = os.getpid()
    first = os.fork()
    if first == 0:
        if os.fork() == 0:  # a grandchild: the server must not find a child that it did not start
            os.setsid()
            os.closerange(1, os.sysconf("SC_OPEN_MAX"))
            if not os.read(0, 1):
                os.kill(target, death_signal)
        os._exit(0)
    os.waitpid(first, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    _main(sys.argv[1:])
