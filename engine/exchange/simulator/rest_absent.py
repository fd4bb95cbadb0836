"""What OKX has and this venue has not: options, spot, loans, deposits. Asked for it, it says what OKX says
of an account that has none: an empty list, or the refusal that fits.
"""

from __future__ import annotations

from typing import Final

PUBLIC: Final = frozenset(
    [
        "market/block-ticker",
        "market/block-tickers",
        "market/option/instrument-family-trades",
        "public/block-trades",
        "public/delivery-exercise-history",
        "public/discount-rate-interest-free-quota",
        "public/estimated-price",
        "public/estimated-settlement-info",
        "public/instrument-tick-bands",
        "public/interest-rate-loan-quota",
        "public/liquidation-orders",
        "public/market-data-history",
        "public/opt-summary",
        "public/option-trades",
        "public/settlement-history",
        "public/vip-interest-rate-loan-quota",
        "rubik/stat/margin/loan-ratio",
        "support/announcement-types",
        "support/announcements",
        "system/status",
    ]
)
PRIVATE: Final = frozenset(
    [
        "account/bills-history-archive",
        "account/borrow-repay-history",
        "account/collateral-assets",
        "account/interest-accrued",
        "account/max-loan",
        "account/mmp-config",
        "account/move-positions-history",
        "account/position-tiers",
        "account/spot-borrow-repay-history",
        "account/vip-interest-accrued",
        "account/vip-interest-deducted",
        "asset/balances",
        "asset/bills",
        "asset/bills-history",
        "asset/convert/currencies",
        "asset/convert/history",
        "asset/deposit-address",
        "asset/deposit-history",
        "asset/deposit-withdraw-status",
        "asset/exchange-list",
        "asset/non-tradable-assets",
        "asset/subaccount/bills",
        "asset/transfer-state",
        "asset/withdrawal-history",
        "finance/savings/balance",
        "public/economic-calendar",
        "trade/easy-convert-currency-list",
        "trade/easy-convert-history",
        "trade/one-click-repay-currency-list",
        "trade/one-click-repay-currency-list-v2",
        "trade/one-click-repay-history",
        "trade/one-click-repay-history-v2",
        "users/subaccount/list",
    ]
)
# Actions, with the code and the text of their refusal.
REFUSED: Final = {
    "asset/transfer": ("58350", "Insufficient balance"),  # there is no funding account behind this one
    "asset/withdrawal": ("58350", "Insufficient balance"),
    "asset/withdrawal-lightning": ("58350", "Insufficient balance"),
    "asset/convert/estimate-quote": ("58350", "Insufficient balance"),
    "asset/convert/trade": ("58350", "Insufficient balance"),
    "trade/mass-cancel": ("51000", "Parameter instType error"),  # of options only
    "account/spot-manual-borrow-repay": ("51010", "Request unsupported under current account mode"),
    "account/move-positions": ("51010", "Request unsupported under current account mode"),
    "account/set-auto-repay": ("51010", "Request unsupported under current account mode"),
    "account/set-auto-loan": ("51010", "Request unsupported under current account mode"),
    "account/activate-option": ("51010", "Request unsupported under current account mode"),
}
