"""The same traders over the same recording twice: as a backtest, and by the engine itself over the simulator.

`live` runs the second, `pairs` finds which execution of one run is which of the other, `explain` says why
they differ, `comparison` puts it together.
"""
