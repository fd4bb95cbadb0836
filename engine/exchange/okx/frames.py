"""What kind of frame a socket brought: keep-alive, event, answer to an operation, or data.

Pure functions of bytes. Data frames are told by the bytes of their `arg` (engine.exchange.okx.dispatch);
https://www.okx.com/docs-v5/en/#overview-websocket.

    {"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[...]}
    {"id":"1","event":"subscribe","arg":{"channel":"orders","instType":"SWAP"},"connId":"a4d3ae55"}
    {"event":"error","code":"60012","msg":"Invalid request: ...","connId":"a4d3ae55"}
    {"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}
    {"id":"7","op":"order","code":"0","msg":"","data":[...]}
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from engine.core.errors import CodecError, Defect

PONG: Final = b"pong"
PING: Final = b"ping"
_PUSH_START: Final = b'{"arg":{"channel":"'
_ARG_START: Final = len(b'{"arg":')
_ARG_IN_TEXT: Final = re.compile(r"channel:\s*([^,\s]+)(?:,\s*inst(?:Id|Type|Family):\s*([^,\s]+))?")


class Arg(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is subscribed to. Equal args are the same subscription."""

    channel: str
    instId: str | None = None
    instType: str | None = None
    instFamily: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Channel and what it is about, as far as every answer of the venue repeats it."""
        return self.channel, self.instId or self.instFamily or self.instType or ""


class Event(msgspec.Struct, frozen=True):
    """A frame about the session itself. `channel` is set by channel-conn-count only."""

    event: str
    code: str = ""
    msg: str = ""
    id: str = ""
    arg: Arg | None = None
    channel: str = ""
    connCount: str = ""


class OperationAck(msgspec.Struct, frozen=True):
    """Answer to an order operation. `data` is left to the order codec."""

    op: str
    id: str
    code: str
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw()


class Pong(msgspec.Struct, frozen=True):
    """The venue is there."""


class Push(msgspec.Struct, frozen=True):
    """Data of a subscription; the frame itself is for its channel's codec."""

    arg: Arg


Frame = Event | OperationAck | Pong | Push


class _Envelope(msgspec.Struct):
    event: str | None = None
    op: str | None = None
    id: str | None = None
    code: str | None = None
    msg: str | None = None
    arg: Arg | None = None
    channel: str | None = None
    connCount: str | None = None
    data: msgspec.Raw = msgspec.Raw()


_envelope: Final = msgspec.json.Decoder(_Envelope)


_arg: Final = msgspec.json.Decoder(Arg)


def push_arg(frame: bytes) -> Arg | None:
    """What a data frame is about that starts as OKX writes them; None: look closer with `classify`."""
    if not frame.startswith(_PUSH_START):
        return None
    try:
        return _arg.decode(frame[_ARG_START : frame.find(b"}") + 1])
    except (ValueError, RecursionError):
        return None


def classify(frame: bytes) -> Frame:
    """Read the envelope of any frame. Raises CodecError."""
    if frame == PONG:
        return Pong()
    try:
        envelope = _envelope.decode(frame)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not a frame of OKX: {error}", frame, Defect.SYNTAX) from error
    if envelope.event is not None:
        return Event(
            envelope.event,
            envelope.code or "",
            envelope.msg or "",
            envelope.id or "",
            envelope.arg,
            envelope.channel or "",
            envelope.connCount or "",
        )
    if envelope.op is not None:
        data = envelope.data.copy()
        return OperationAck(envelope.op, envelope.id or "", envelope.code or "", envelope.msg or "", data)
    if envelope.arg is not None and bytes(envelope.data):
        return Push(envelope.arg)
    raise CodecError("neither event, operation nor data", frame, Defect.UNKNOWN)


def arg_in_text(message: str) -> tuple[str, str] | None:
    """Channel and instrument that an error names in its text only (60018). None when it names none."""
    found = _ARG_IN_TEXT.search(message)
    return (found[1], (found[2] or "").rstrip(".")) if found else None


class _Request(msgspec.Struct):
    id: str
    op: str
    args: tuple[Arg, ...]


def request(request_id: str, operation: str, args: tuple[Arg, ...]) -> bytes:
    """A subscribe or unsubscribe request."""
    return msgspec.json.encode(_Request(request_id, operation, args))
