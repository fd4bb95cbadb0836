"""Who decides for each trader: a model, a strategy or an ensemble of both, made from settings."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.clock import Clock, SimClock
from engine.config.executor import ExecutorConfig
from engine.config.manager import EnsembleConfig, StrategyConfig, TraderConfig
from engine.config.settings import Settings
from engine.core.errors import ConfigError
from engine.executor.asking import ModelClient
from engine.executor.decision import AnswerRules
from engine.executor.ensemble import EnsembleDecider, EnsembleSetup
from engine.executor.judge import Judge
from engine.executor.letta import LettaClient, LettaMemory
from engine.executor.memory import LocalMemory, Memory, MemoryOff
from engine.executor.model import ModelDecider, ModelSetup
from engine.executor.ports import Decider
from engine.executor.prompt import PromptLibrary
from engine.executor.recorded import AnswerFile, Answers, CycleAnswers, RecordedModel
from engine.executor.strategies.catalog import make_strategy
from engine.executor.write_back import WriteBack
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import Journal


def build_deciders(
    settings: Settings, model: ModelClient, journal: Journal, clock: Clock, letta: Memory | None = None
) -> dict[str, Decider]:
    """Who decides for each trader. Raises ConfigError for what a trader names wrongly.

    `model` answers every alias, `recorded` too. `letta` takes the place of the configured server for traders
    with `memory: letta`.
    """
    makers = _Makers(settings, model, journal, clock, letta)
    return {trader.id: makers.decider(trader) for trader in settings.manager.traders}


def check_deciders(settings: Settings) -> None:
    """Try what each trader names: strategies with their parameters, templates, recorded answers.

    Raises ConfigError with every mistake, one line each.
    """
    makers = _Makers(settings, RecordedModel(CycleAnswers(())), MemoryJournal(), SimClock(), None)
    problems: list[str] = []
    try:
        recorded_answers(settings, MemoryJournal())
    except ConfigError as error:
        problems.append(f"llm.recorded: {error}")
    for trader in settings.manager.traders:
        try:
            makers.decider(trader)
        except ConfigError as error:
            problems.append(f"{settings.places[trader.id]}: trader {trader.id}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))


def recorded_answers(settings: Settings, journal: Answers) -> RecordedModel:
    """Who answers `model: recorded`: the configured file, else the journal. Raises ConfigError."""
    file = settings.llm.recorded
    return RecordedModel(journal if file is None else AnswerFile(file))


def build_write_back(settings: Settings, journal: Journal, clock: Clock) -> WriteBack:
    """What tells a memory outside the journal how trades ended."""
    remembering = [trader.id for trader in settings.manager.traders if trader.memory == "letta"]
    return WriteBack(remembering, LettaClient(settings.executor.memory.letta, clock), journal, clock)


class _Makers:
    """Makes deciders that share a client, templates and memories."""

    def __init__(
        self, settings: Settings, model: ModelClient, journal: Journal, clock: Clock, letta: Memory | None
    ) -> None:
        self._settings, self._model, self._journal, self._clock = settings, model, journal, clock
        self._library = PromptLibrary(settings.executor.prompts)
        config = settings.executor.memory
        self._memories: Final[dict[str, Memory]] = {
            "off": MemoryOff(),
            "local": LocalMemory(journal, config),
            "letta": letta or LettaMemory(LettaClient(config.letta, clock), journal, config),
        }

    def decider(self, trader: TraderConfig) -> Decider:
        if trader.ensemble is not None:
            return self._ensemble(trader, trader.ensemble)
        if trader.strategy is not None:
            return self._strategy(trader.strategy)
        return ModelDecider(trader.model, self._setup(trader, trader.prompt_template))

    def _ensemble(self, trader: TraderConfig, config: EnsembleConfig) -> EnsembleDecider:
        once = msgspec.structs.replace(self._settings.executor, repair=False)
        members: list[Decider] = []
        for member in config.members:
            if member.strategy is not None:
                members.append(self._strategy(member.strategy))
                continue
            prompt = member.prompt_template or trader.prompt_template
            members.append(ModelDecider(member.model, self._setup(trader, prompt, once)))
        judge = Judge(config.judge, self._setup(trader)) if config.judge else None
        return EnsembleDecider(
            EnsembleSetup(members=members, judge=judge, max_cost_usd=config.max_cost_usd, clock=self._clock)
        )

    def _strategy(self, config: StrategyConfig) -> Decider:
        timeframes = self._settings.market.timeframes
        return make_strategy(config.name, config.params, self._clock, timeframes)

    def _setup(
        self, trader: TraderConfig, prompt: str = "", config: ExecutorConfig | None = None
    ) -> ModelSetup:
        settings = self._settings
        return ModelSetup(
            client=self._model,
            prompts=self._library.pair(prompt, trader.executor_prompt_template),
            rules=AnswerRules(
                limits=settings.executor.tighten(trader.risk_params),
                major_coins=frozenset(settings.manager.manager.major_coins),
            ),
            memory=self._memories[trader.memory],
            config=config or settings.executor,
            journal=self._journal,
            clock=self._clock,
        )
