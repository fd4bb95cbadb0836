"""Dividing what happened to a venue account among those who hold it, so that the parts add up exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal

import msgspec

from engine.core.ledger import split
from engine.core.orders import ZERO, Fill


def share_contracts(contracts: Decimal, holders: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """`contracts` divided pro rata, nobody more than he holds; largest remainder, then the lower name.

    Shares are whole multiples of the finest decimal step in the numbers, one contract at most, so that what a
    holder keeps can still be traded. `contracts` must not exceed the sum; zero shares are left out.
    """
    total = sum(holders.values(), ZERO)
    if not total or not contracts:
        return {}
    step = min(_step(value) for value in (contracts, *holders.values()))
    exact = {name: contracts * held / total for name, held in holders.items()}
    shares = {name: (share / step).to_integral_value(ROUND_FLOOR) * step for name, share in exact.items()}
    left = contracts - sum(shares.values(), ZERO)
    for name in sorted(holders, key=lambda name: (shares[name] - exact[name], name)):
        more = min(left, step, holders[name] - shares[name])
        shares[name] += more
        left -= more
    return {name: share for name, share in shares.items() if share}


def _step(value: Decimal) -> Decimal:
    exponent = int(value.normalize().as_tuple().exponent)
    return Decimal(1).scaleb(min(0, exponent))


def divide_fill(fill: Fill, parts: Sequence[tuple[str, Decimal]]) -> list[Fill]:
    """One fill as one for each (trader, contracts), whose fees add up to its own: the last takes the rest.

    A fill that has one owner stays itself. Ids of parts are the fill's with the owner's name.
    """
    if len(parts) == 1 and parts[0] == (fill.trader_id, fill.contracts):
        return [fill]
    divided, fee = [], fill.fee
    for number, (trader_id, contracts) in enumerate(parts, 1):
        own_fee = fee if number == len(parts) else split(fill.fee, contracts, fill.contracts)
        fee -= own_fee
        fill_id = fill.fill_id if trader_id == fill.trader_id else f"{fill.fill_id}:{trader_id}"
        divided.append(
            msgspec.structs.replace(
                fill, fill_id=fill_id, trader_id=trader_id, contracts=contracts, fee=own_fee
            )
        )
    return divided
