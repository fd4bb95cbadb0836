"""The options of `edgewise simulator`, in the groups in which its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

_MARKET: Final = "The market"
_ACCOUNTS: Final = "Accounts and orders"
_TIME: Final = "Time"
_TROUBLE: Final = "Trouble"

Port = Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)]
Certificate = Annotated[
    Path | None,
    typer.Option(help="PEM of certificate and key: speak TLS, for those who insist.", exists=True),
]

Seed = Annotated[int, typer.Option(help="Seed of the generated market.", rich_help_panel=_MARKET)]
Symbols = Annotated[
    list[str] | None,
    typer.Option(
        help="Markets to list; beside a recording's own, others are generated.", rich_help_panel=_MARKET
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        help="Play this file, or the folder of `record`, instead.", exists=True, rich_help_panel=_MARKET
    ),
]
Funding = Annotated[
    Path | None,
    typer.Option(
        help="Funding rates for it: funding_ts_ms,funding_rate.", exists=True, rich_help_panel=_MARKET
    ),
]
Loop = Annotated[
    bool, typer.Option("--loop", help="Start a recording over when it ends.", rich_help_panel=_MARKET)
]
Manual = Annotated[
    bool, typer.Option("--manual", help="Prices move by POST /sim/market only.", rich_help_panel=_MARKET)
]

Accounts = Annotated[
    list[str] | None,
    typer.Option(
        help="<key>:<secret>:<passphrase>:<USDT>, perhaps :read_only+trade; repeatable.",
        rich_help_panel=_ACCOUNTS,
    ),
]
PositionMode = Annotated[str, typer.Option(help="long_short or net.", rich_help_panel=_ACCOUNTS)]
Environment = Annotated[
    str,
    typer.Option(
        help="demo or live: keys are of it, requests for the other get 50101.", rich_help_panel=_ACCOUNTS
    ),
]
Vip = Annotated[
    bool,
    typer.Option("--vip", help="Accounts have the channels of high fee tiers.", rich_help_panel=_ACCOUNTS),
]
State = Annotated[
    Path | None, typer.Option(help="Folder that keeps the accounts.", rich_help_panel=_ACCOUNTS)
]

Speed = Annotated[
    float,
    typer.Option(help="Engine seconds in a real one.", min=0.1, max=1000, rich_help_panel=_TIME),
]
Epoch = Annotated[
    int, typer.Option(help="Engine time (ns) at --wall-epoch; 0: wall time.", rich_help_panel=_TIME)
]
WallEpoch = Annotated[
    int, typer.Option(help="Wall time (ns) at which engine time is --epoch.", rich_help_panel=_TIME)
]
LatencyMs = Annotated[
    int,
    typer.Option(
        help="How long orders travel to the book, ms of engine time.",
        min=0,
        max=60_000,
        rich_help_panel=_TIME,
    ),
]

Faults = Annotated[
    Path | None,
    typer.Option(
        help="Faults that come by themselves, in YAML.",
        exists=True,
        dir_okay=False,
        rich_help_panel=_TROUBLE,
    ),
]
ListFaults = Annotated[
    bool,
    typer.Option(
        "--list-faults",
        help="Name the kinds of faults and what each does; then end.",
        rich_help_panel=_TROUBLE,
    ),
]
NoRateLimit = Annotated[
    bool,
    typer.Option("--no-rate-limit", help="Answer any number of requests.", rich_help_panel=_TROUBLE),
]
