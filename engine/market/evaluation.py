"""What the detectors of a symbol say about its newest values, as signals with a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.config.market import ScorerConfig
from engine.config.market_rules import BreakoutRule, CrossRule
from engine.core.signals import Signal, signal_id
from engine.core.times import NS_PER_S
from engine.market.frames import Frame
from engine.market.records import Crossing, Evidence, Reading
from engine.market.scorer import Scorer, agreement
from engine.market.watch import Binding, Watch, trends

_NONE: Final[tuple[Crossing, ...]] = ()


class Evaluation:
    """Asks detectors. What they remember is theirs; this holds no state."""

    def __init__(self, config: ScorerConfig) -> None:
        self._scorer = Scorer(config)

    def closed(self, watch: Watch, frame: Frame, ts: int) -> Sequence[Signal]:
        """Ask the detectors of a timeframe about its newest closed candle."""
        signals: list[Signal] = []
        features, previous = frame.features, frame.previous
        for binding in watch.frame_bindings[frame.timeframe]:
            rule, band = binding.rule, binding.band
            if band is not None:
                value = features[binding.reads]
                for crossing in _NONE if value is None else band.follow(value, ts):
                    signals.append(self._signal(watch, binding, crossing))
                continue
            upper = lower = release = None
            if isinstance(rule, CrossRule):
                upper = features[rule.against] if isinstance(rule.against, str) else rule.against
            elif isinstance(rule, BreakoutRule):
                upper, lower = previous.get(rule.upper), previous.get(rule.lower)
                release = previous.get(rule.release)
            reading = Reading(features[binding.reads], ts, upper, lower, release, features["close"])
            for crossing in binding.detector.update(reading):
                signals.append(self._signal(watch, binding, crossing))
        return signals

    def live(self, watch: Watch, bindings: Sequence[Binding], ts: int) -> Sequence[Signal]:
        """Ask the detectors of the live features that an event may have moved."""
        signals: list[Signal] = []
        for binding in bindings:
            value = None if binding.feature is None else binding.feature.value(ts)
            if value is None:
                continue  # changes nothing in any detector
            if binding.band is not None:
                for crossing in binding.band.follow(value, ts):
                    signals.append(self._signal(watch, binding, crossing))
                continue
            upper, rule = None, binding.rule
            if isinstance(rule, CrossRule):
                against = rule.against
                upper = _live_value(watch, against, ts) if isinstance(against, str) else against
            reading = Reading(value, ts, upper, None, None, watch.last)
            for crossing in binding.detector.update(reading):
                signals.append(self._signal(watch, binding, crossing))
        return signals

    def _signal(self, watch: Watch, binding: Binding, crossing: Crossing) -> Signal:
        rule = binding.rule
        frames = watch.frames.values()
        frame = watch.frames[rule.timeframe] if rule.timeframe else watch.base
        direction = crossing.direction if rule.directional else 0
        evidence = Evidence(
            edge=crossing.edge,
            age_s=(watch.newest - crossing.ts) / NS_PER_S,
            distance=crossing.distance,
            earlier=binding.recurrence.count(crossing.ts),
            volume_ratio=frame.volume_ratio,
            agreement=agreement(direction, trends(frames, without=rule.timeframe)),
        )
        binding.recurrence.add(crossing.ts)
        return Signal(
            signal_id=signal_id(watch.symbol, rule.name, crossing.edge, crossing.ts),
            symbol=watch.symbol,
            detector=rule.name,
            feature=rule.feature,
            timeframe=rule.timeframe,
            edge=crossing.edge,
            value=crossing.value,
            threshold=crossing.threshold,
            release=crossing.release,
            score=self._scorer.score(evidence),
            price=watch.last,
            ts_event=crossing.ts,
            ts_recv=watch.newest,
            recovers=not isinstance(rule, CrossRule),
        )


def _live_value(watch: Watch, name: str, ts: int) -> float | None:
    return next(feature.value(ts) for feature in watch.live if feature.name == name)
