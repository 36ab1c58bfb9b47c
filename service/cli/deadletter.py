"""`headrace deadletter`."""

from typing import Annotated

import typer

from service.cli.context import ConfigOption, JsonOption, actor, opened, reading, say, show
from service.domain.events import Reason
from service.domain.plain import plain
from service.lazy import lazy_imports

with lazy_imports():
    from service.domain import registry

app = typer.Typer(no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="The model's name.")]
Letter = Annotated[int, typer.Argument(help="The dead letter's number.")]


@app.command("list")
def list_(
    model: Model,
    config: ConfigOption = None,
    reason: Annotated[Reason | None, typer.Option(help="Only this reason.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Refused events, newest first."""
    with reading(config) as app_:
        app_.registry.models.get(model)
        letters = app_.registry.dead_letters.list(model, limit=limit, reason=reason)
        show(letters, as_json=as_json, columns=("id", "reason", "at", "offset", "detail"))


@app.command("show")
def show_(model: Model, letter: Letter, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One refused event, with its bytes."""
    with reading(config) as app_:
        found = app_.registry.dead_letters.get(model, letter)
        show(plain(found), as_json=as_json)


@app.command()
def replay(model: Model, letter: Letter, config: ConfigOption = None) -> None:
    """Have the learner learn a refused event after all, once."""
    with opened(config) as app_:
        say(app_.act(model, registry.CommandKind.REPLAY_DEAD_LETTER, {"id": letter}, actor=actor()))
