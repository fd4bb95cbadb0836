"""Notes of a Letta server, over its OpenAI-compatible endpoint: what it remembers, never what to do.

An agent is a model there (`letta server --openai-api`), and a header keeps one conversation a key. It is
asked for notes in single turns and is told of trades that closed. Its agents have a shell of their own, which
no request can take away (`tools: []` is ignored by 0.34): run it where there are no keys and nothing to lose.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import msgspec
import structlog

from engine.clock import Clock
from engine.config.executor import LettaConfig, MemoryConfig
from engine.core.errors import EdgewiseError
from engine.core.memory import Episode, MemoryQuery, merged
from engine.executor.endpoint_breaker import EndpointBreaker
from engine.executor.memory import Recalled, default_blocks
from engine.executor.wire import clean
from engine.journal.ports import Journal

log = structlog.get_logger()

_SESSION_HEADER: Final = "x-letta-chat-key"
_LONGEST_BODY: Final = 1_000_000
_LONGEST_NOTE: Final = 300
_MOST_NOTES: Final = 8
_ASK: Final = (
    "Only recall; do not use tools, do not advise. In at most {most} short lines, one fact each: what do you "
    "remember of earlier trades and lessons about {about}? Answer NONE if there is nothing."
)
_TELL: Final = (
    "Remember this closed trade; answer OK, use no tools.\n{side} {symbol}, entered at {entry_price} and "
    "closed at {exit_price} by {exit}, net result {net} USDT.\nEntered because: {thesis}\n"
    "Plan was void if: {invalidation}\nClosed because: {close_reason}"
)


class LettaAway(EdgewiseError):
    """The notes could not be had; the text says why. Go on without them."""


class LettaClient:
    """Single turns with the agents of a Letta server."""

    def __init__(self, config: LettaConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._breaker = EndpointBreaker(config.breaker_failures, config.breaker_pause)

    async def notes(self, query: MemoryQuery) -> tuple[str, ...]:
        """What the trader's agent remembers of these markets. Raises LettaAway."""
        about = ", ".join((*query.symbols, *query.words))
        text = await self._turn(query.trader_id, _ASK.format(most=_MOST_NOTES, about=about))
        lines = (line.strip(" -*\t") for line in clean(text, _LONGEST_NOTE * _MOST_NOTES).splitlines())
        found = [line[:_LONGEST_NOTE] for line in lines if line and line.upper().strip(".") != "NONE"]
        return tuple(found[:_MOST_NOTES])

    async def remember(self, episode: Episode) -> None:
        """Tell the trader's agent how a trade ended. Raises LettaAway; telling it twice does no harm."""
        await self._turn(episode.trader_id, _TELL.format_map(msgspec.structs.asdict(episode)))

    async def _turn(self, trader_id: str, text: str) -> str:
        if not self._breaker.allows(self._clock.real_s()):
            raise LettaAway("it failed too often and is left alone for a while")
        try:
            answer = await self._post(trader_id, text)
        except LettaAway as error:
            if self._breaker.on_failure(self._clock.real_s()):
                log.warning("memory server is given a rest", error=str(error))
            raise
        if self._breaker.on_success():
            log.info("memory server answers again")
        return answer

    async def _post(self, trader_id: str, text: str) -> str:
        config = self._config
        headers = {_SESSION_HEADER: config.session.replace("{trader}", trader_id)}
        if config.api_key:
            headers["authorization"] = f"Bearer {config.api_key.reveal()}"
        body = {
            "model": config.agent.replace("{trader}", trader_id),
            "messages": [{"role": "user", "content": text}],
        }
        url = config.base_url.rstrip("/") + "/chat/completions"
        try:
            async with (
                asyncio.timeout(float(config.timeout)),
                aiohttp.ClientSession() as session,  # one a turn: turns are minutes apart
                session.post(url, json=body, headers=headers) as response,
            ):
                raw = await response.content.read(_LONGEST_BODY)
                if response.status != 200:  # noqa: PLR2004 - OK
                    raise LettaAway(f"it answered {response.status}")
        except TimeoutError as error:
            raise LettaAway(f"no answer in {float(config.timeout):g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LettaAway(f"cannot be reached: {type(error).__name__}") from error
        return _content(raw)


class LettaMemory:
    """Implements Memory with notes of a Letta agent; core memory stays an operator's."""

    def __init__(self, client: LettaClient, journal: Journal, config: MemoryConfig) -> None:
        self._client = client
        self._journal = journal
        self._defaults = default_blocks(config)

    async def recall(self, query: MemoryQuery) -> Recalled:
        core = merged(self._defaults, await self._journal.core_blocks(query.trader_id))
        try:
            notes = await self._client.notes(query)
        except LettaAway as error:
            log.warning("memory is away", trader=query.trader_id, error=str(error))
            return Recalled(source="letta", missing=f"no notes: {error}", core=core)
        return Recalled(source="letta", core=core, notes=notes)


def _content(raw: bytes) -> str:
    """The answer's text. Raises LettaAway for anything else, a call of a tool included."""
    try:
        body: Any = msgspec.json.decode(raw)
        message = body["choices"][0]["message"]
        text = message["content"]
    except (msgspec.MsgspecError, LookupError, TypeError) as error:
        raise LettaAway("its answer is no chat completion") from error
    if message.get("tool_calls") or not isinstance(text, str):
        raise LettaAway("its answer is no text")
    return text
