"""What is made of the settings: the outside of one account, its deciders, and its parts wired together.

`engine.app` and the backtest differ in what they hand to `parts`; no part knows how another is made.
"""
