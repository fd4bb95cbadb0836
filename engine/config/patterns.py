"""Candlestick patterns by their names in `market.yaml`: `cdl_` and the field's name, digits spelled out.

A digit in the name of an indicator is a period, so TA-Lib's CDL3INSIDE is `cdl_three_inside` here.
"""

from __future__ import annotations

from typing import Final

_SAME_NAME: Final = (
    *("abandoned_baby", "advance_block", "belt_hold", "breakaway", "closing_marubozu", "conceal_baby_swall"),
    *("counterattack", "dark_cloud_cover", "doji", "doji_star", "dragonfly_doji", "engulfing"),
    *("evening_doji_star", "evening_star", "gap_side_side_white", "gravestone_doji", "hammer", "hanging_man"),
    *("harami", "harami_cross", "high_wave", "hikkake", "hikkake_mod", "homing_pigeon", "in_neck"),
    *("inverted_hammer", "kicking", "kicking_by_length", "ladder_bottom", "long_legged_doji", "long_line"),
    *("marubozu", "matching_low", "mat_hold", "morning_doji_star", "morning_star", "on_neck", "piercing"),
    *("rickshaw_man", "separating_lines", "shooting_star", "short_line", "spinning_top", "stalled_pattern"),
    *("stick_sandwich", "takuri", "tasuki_gap", "thrusting", "tristar"),
)
_SPELLED: Final = {
    "two_crows": "CDL2CROWS",
    "three_black_crows": "CDL3BLACKCROWS",
    "three_inside": "CDL3INSIDE",
    "three_line_strike": "CDL3LINESTRIKE",
    "three_outside": "CDL3OUTSIDE",
    "three_stars_in_south": "CDL3STARSINSOUTH",
    "three_white_soldiers": "CDL3WHITESOLDIERS",
    "identical_three_crows": "CDLIDENTICAL3CROWS",
    "rise_fall_three_methods": "CDLRISEFALL3METHODS",
    "unique_three_river": "CDLUNIQUE3RIVER",
    "upside_gap_two_crows": "CDLUPSIDEGAP2CROWS",
    "x_side_gap_three_methods": "CDLXSIDEGAP3METHODS",
}

# name in the file → function of TA-Lib
PATTERNS: Final[dict[str, str]] = {
    f"cdl_{name}": function
    for name, function in sorted(
        (_SPELLED | {name: f"CDL{name.replace('_', '').upper()}" for name in _SAME_NAME}).items()
    )
}
