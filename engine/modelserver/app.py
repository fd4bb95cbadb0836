"""The HTTP side: chat completions and the list of models, in OpenAI's shapes.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec
from aiohttp import web

from engine.clock import Clock
from engine.core.errors import CodecError
from engine.executor.budget import estimate_tokens
from engine.modelserver.faults import CONTENT, Fault, parse_model
from engine.modelserver.rules import MODEL, NOTICE, RulesAnswer, answer

_CHUNK: Final = 64
_MAX_BODY: Final = 16 * 1024 * 1024
_NS_PER_S: Final = 1_000_000_000


class ChatBody(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a request that matters here; other keys are ignored."""

    model: str
    messages: list[dict[str, Any]]
    response_format: dict[str, Any] = {}
    stream: bool = False
    stream_options: dict[str, Any] | None = None


def make_app(clock: Clock) -> web.Application:
    """The application; it keeps nothing but how often each model was asked."""
    app = web.Application(client_max_size=_MAX_BODY)
    server = _Server(clock)
    app.add_routes(
        [
            web.get("/", server.about),
            web.get("/v1/models", server.models),
            web.post("/v1/chat/completions", server.chat),
        ]
    )
    return app


class _Server:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: Counter[str] = Counter()

    async def about(self, _request: web.Request) -> web.Response:
        return web.json_response({"model": MODEL, "notice": NOTICE})

    async def models(self, _request: web.Request) -> web.Response:
        model = {
            "id": MODEL,
            "object": "model",
            "created": 0,
            "owned_by": "edgewise (rules, no language model)",
        }
        return web.json_response({"object": "list", "data": [model]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        try:
            body = msgspec.json.decode(await request.read(), type=ChatBody)
            _, faults = parse_model(body.model)
        except (msgspec.MsgspecError, CodecError) as error:
            return _error(400, str(error))
        self._asked[body.model] += 1
        for fault in faults:
            if (spoiled := await self._spoil(fault, body, request)) is not None:
                return spoiled
        reply = answer([_text(message) for message in body.messages])
        finish = "stop"
        for fault in faults:
            reply, finish = _spoil_content(fault, reply, finish, body)
        if body.stream:
            return await self._stream(request, body, reply, finish)
        message = {"role": "assistant", "content": reply.content, "reasoning_content": reply.thought}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response(
            self._head(body, "chat.completion") | {"choices": [choice], "usage": _usage(body, reply)}
        )

    async def _spoil(self, fault: Fault, body: ChatBody, request: web.Request) -> web.Response | None:
        """The response of a fault that comes before any answer; None lets the answer be made."""
        if fault.name == "slow":
            await self._clock.sleep_real(30.0 if fault.number is None else fault.number)
        elif fault.name == "drop":
            if request.transport is not None:
                request.transport.close()
        elif fault.name == "flaky":
            if self._asked[body.model] <= (fault.number or 2):
                return _error(429, "slow down", {"retry-after-ms": "20"})
        elif fault.name == "status":
            return _error(int(fault.number or 500), "a fault on demand")
        elif fault.name == "echo-key":
            return _error(401, f"Incorrect API key provided: {request.headers.get('authorization', '')}")
        else:
            return self._canned(fault, body)
        return None

    def _canned(self, fault: Fault, body: ChatBody) -> web.Response | None:
        kind = body.response_format.get("type")
        if fault.name == "garbage":
            return web.Response(text="<html><body>502 but not really</body></html>", content_type="text/html")
        if fault.name == "other-json":
            return web.json_response({"result": "ok", "choices": "none", "usage": "much"})
        if fault.name == "no-choices":
            return web.json_response(self._head(body, "chat.completion") | {"choices": [], "usage": None})
        if (fault.name == "no-schema" and kind == "json_schema") or (fault.name == "no-format" and kind):
            return _error(400, f"response_format {kind} is not available for this model")
        return None

    def _head(self, body: ChatBody, kind: str) -> dict[str, Any]:
        created = self._clock.now_ns() // _NS_PER_S
        return {
            "id": f"rules-{sum(self._asked.values())}",
            "object": kind,
            "created": created,
            "model": body.model,
        }

    async def _stream(
        self, request: web.Request, body: ChatBody, reply: RulesAnswer, finish: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        head = self._head(body, "chat.completion.chunk")

        async def send(delta: dict[str, Any], reason: str | None) -> None:
            choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
            await response.write(_event(head | {"choices": choices}))

        await send({"role": "assistant", "content": "", "reasoning_content": reply.thought}, None)
        for start in range(0, len(reply.content), _CHUNK):
            await send({"content": reply.content[start : start + _CHUNK]}, None)
        await send({}, finish)
        if (body.stream_options or {}).get("include_usage"):
            await response.write(_event(head | {"choices": [], "usage": _usage(body, reply)}))
        await response.write(b"data: [DONE]\n\n")
        return response


def _spoil_content(fault: Fault, reply: RulesAnswer, finish: str, body: ChatBody) -> tuple[RulesAnswer, str]:
    if fault.name == "truncated":
        return RulesAnswer(CONTENT["cut"](reply.content), reply.thought), "length"
    first = not any(message.get("role") == "assistant" for message in body.messages)
    if fault.name == "bad-once" and first:
        return RulesAnswer(CONTENT["prose"](reply.content), reply.thought), finish
    if fault.name in CONTENT:
        return RulesAnswer(CONTENT[fault.name](reply.content), reply.thought), finish
    return reply, finish


def _text(message: dict[str, Any]) -> str:
    """A message's text: a string, or the text parts of a list."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _usage(body: ChatBody, reply: RulesAnswer) -> dict[str, Any]:
    """Estimated counts; the system message counts as cached, as if it had been sent before."""
    counts = [(message.get("role"), estimate_tokens(_text(message))) for message in body.messages]
    tokens_in, tokens_out = sum(n for _, n in counts), estimate_tokens(reply.content)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": sum(n for role, n in counts if role == "system")},
    }


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)
