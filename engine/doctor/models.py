"""The models that the traders name: whether they are there and answer as asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from engine.clock import Clock
from engine.config.settings import Settings
from engine.doctor.findings import Finding, State
from engine.executor.asking import ChatMessage, ModelFailure, ModelRequest
from engine.executor.llm import LlmClient

_QUESTION: Final = 'Answer with the JSON object {"ok": true} and nothing else.'
_SCHEMA: Final = (
    b'{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
)


async def models(settings: Settings, clock: Clock, *, ask: bool) -> AsyncIterator[Finding]:
    """Each one; `ask`: it is asked a short question, which costs tokens."""
    aliases = {alias for trader in settings.manager.traders for alias in trader.models}
    client = LlmClient(settings.llm, clock)
    try:
        for alias in sorted(aliases & settings.llm.models.keys()):
            subject, endpoint = f"model {alias}", settings.llm.endpoint(alias)
            where = f"{endpoint.model.model_name} at {endpoint.provider.base_url}"
            if not ask:
                yield Finding(subject, State.OK, f"{where}; not asked (--ask)")
                continue
            question = (ChatMessage("user", _QUESTION),)
            reply = await client.ask(
                ModelRequest(alias=alias, messages=question, schema=_SCHEMA, deadline_s=endpoint.timeout_s)
            )
            if isinstance(reply, ModelFailure):
                yield Finding(subject, State.WRONG, f"{where}: {reply.failure.value}: {reply.detail}")
            else:
                yield Finding(subject, State.OK, f"{where}: answered in {reply.latency_ms} ms")
    finally:
        await client.aclose()
