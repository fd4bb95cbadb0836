"""The collector leaves alone what lives as long as the process, and nothing else."""

from __future__ import annotations

import gc
import weakref

from engine.garbage import settle


class Ring:
    """Refers to itself, so that only the collector can end it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_built_before_is_left_alone_and_what_comes_later_is_collected() -> None:
    before = gc.get_threshold()
    early = Ring()
    try:
        settle()
        later = weakref.ref(Ring())
        seen = {id(each) for each in gc.get_objects()}
        assert id(early) not in seen, "a collection does not walk over it"
        assert gc.get_freeze_count() > 0
        gc.collect()
        assert later() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
    assert gc.is_tracked(early)
