"""Data frames to whoever reads their subscription, told by the bytes of `arg` without parsing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from engine.core.errors import CodecError
from engine.exchange.okx.frames import Arg, Event, classify, push_arg

FrameReader = Callable[[bytes, int], None]  # a data frame and when it was received; raises CodecError
_MOST_ARGS: Final = 4096


class Dispatch:
    """The frames of one connection that are plain data.

    `reader` finds who reads a subscription, and raises CodecError where nobody does; it is asked once for
    each. `bad` is told of what did not parse, with its channel.
    """

    def __init__(self, reader: Callable[[Arg], FrameReader], bad: Callable[[str, CodecError], None]) -> None:
        self._reader, self._bad = reader, bad
        self._readers: dict[bytes, FrameReader] = {}  # by what stands before the first brace that closes

    def take(self, frames: list[bytes], begin: int, ts_recv: int) -> int:
        """Hand over frames from number `begin` on; the number of the first one that is no plain data."""
        readers = self._readers
        for at in range(begin, len(frames)):
            frame = frames[at]
            head = frame[: frame.find(b"}")]
            try:
                read = readers.get(head)
                if read is None:
                    read = self._learn(head, frame)
                    if read is None:
                        return at
                read(frame, ts_recv)
            except CodecError as error:
                if _is_event(frame):
                    return at
                arg = push_arg(frame)
                self._bad("" if arg is None else arg.channel, error)
        return len(frames)

    def _learn(self, head: bytes, frame: bytes) -> FrameReader | None:
        """The reader of a frame that begins like none before; None: it is no data as OKX writes it."""
        arg = push_arg(frame)
        if arg is None:
            return None
        read = self._reader(arg)
        if len(self._readers) < _MOST_ARGS:
            self._readers[head] = read
        return read


def _is_event(frame: bytes) -> bool:
    try:
        return isinstance(classify(frame), Event)
    except CodecError:
        return False
