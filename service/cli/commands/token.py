"""`headrace token`: create, list and revoke access tokens."""

import sys
from typing import Annotated, Any

import typer

from service.cli.context import ConfigOption, JsonOption, actor, err, reading, say, show_json, show_rows
from service.cli.printing.layout import Column
from service.cli.printing.wording import when
from service.domain.access.access import AccessRole, TokenGrant
from service.lazy import lazy_imports

with lazy_imports():
    from service.cli.printing import lifetime

app = typer.Typer(no_args_is_help=True)
COLUMNS = (
    Column("id", right=True),
    Column("name"),
    Column("role"),
    Column("models"),
    Column("begins_with"),
    Column("expires", "expires (UTC)", time=True),
    Column("used", "used (UTC)", time=True),
    Column("revoked", "revoked (UTC)", time=True),
)


def _parse_lifetime(text: str) -> float:
    return lifetime.seconds(text)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="The name of its user in the audit.")],
    role: Annotated[AccessRole, typer.Option(help="What it allows.")],
    models: Annotated[str | None, typer.Option(metavar="A,B", help="Only these models.")] = None,
    expires: Annotated[
        float | None, typer.Option(parser=_parse_lifetime, metavar="TIME", help="How long it is valid, such as 30d.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it; it cannot be shown again."""
    scope = None if models is None else frozenset(one.strip() for one in models.split(",") if one.strip())
    with reading(config) as app_:
        found, text = app_.create_token(TokenGrant(name, role, scope, expires), actor=actor())
        if as_json:
            show_json({**found.to_json(), "token": text})
            return
        sys.stdout.write(f"{text}\n")
        until = f"until {found.expires_at:%Y-%m-%d %H:%M} UTC" if found.expires_at else "until it is revoked"
        err.print(f"token {found.id}, {found.name}, {found.role}, is good {until}; this text is not kept", markup=False)


@app.command("list")
def print_tokens(
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="Include tokens that were revoked.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List tokens without their secrets."""
    with reading(config) as app_:
        rows = [one.to_json() for one in app_.registry.tokens.list(revoked=every)]
        if as_json:
            show_json(rows)
        else:
            show_rows(list(map(_token_row, rows)), COLUMNS, none="no tokens; `headrace token create` makes one")


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="The token's name or number.")],
    config: ConfigOption = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
) -> None:
    """Revoke a token; servers refuse it within seconds."""
    with reading(config) as app_:
        found = app_.registry.tokens.revoke(which, actor=actor(), reason=reason)
        say(f"token {found.id}, {found.name}, is revoked")


def _token_row(found: dict[str, Any]) -> dict[str, str]:
    times = {name: found[f"{name}_at"] for name in ("expires", "used", "revoked")}
    return {
        "id": str(found["id"]),
        "name": found["name"],
        "role": found["role"],
        "models": "all" if found["models"] is None else ", ".join(found["models"]),
        "begins_with": found["begins_with"],
        **{name: when(at) if at else ("never" if name in {"expires", "used"} else "") for name, at in times.items()},
    }
