"""`edgewise config`: is it right, what does it say, what may it say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.startup import Etc, fail_clearly, settings_of
from engine.core.words import counted

app = typer.Typer(help="Check and explain the configuration.", no_args_is_help=True)


@app.command()
def check(etc: Etc = Path("etc")) -> None:
    """Read every file; name each mistake with file, line, key and what was expected. Exit code 2 then."""
    from engine.wiring.deciders import check_deciders

    with fail_clearly():
        settings = settings_of(etc)
        check_deciders(settings)
        provider = settings.provider
        sends = "orders are sent" if provider.may_trade else "orders are not sent (trading_enabled: false)"
        print(f"{etc}: {counted(len(settings.manager.traders), 'trader')} on {settings.provider_id}; {sends}")
        for trader in settings.manager.traders:
            decider = trader.decider
            capital = settings.manager.capital(trader)
            print(f"  {trader.id}: {decider}, {capital:,.2f} USD, {', '.join(settings.symbols(trader))}")
        for remark in settings.remarks:
            print(f"  note: {remark}")


@app.command()
def schema(
    file: Annotated[str, typer.Argument(help="engine, market, exchange, executor, manager or llm.")],
) -> None:
    """Print the JSON Schema of one file, for editors."""
    import msgspec

    from engine.config.loader import schema as json_schema
    from engine.config.settings import Settings
    from engine.config.values import plain

    types = {
        field.name: field.type
        for field in msgspec.structs.fields(Settings)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }
    if file not in types:
        raise typer.BadParameter(f"expected one of {', '.join(types)}", param_hint="FILE")
    encoded = msgspec.json.encode(json_schema(types[file]), enc_hook=plain)
    print(msgspec.json.format(encoded).decode())
