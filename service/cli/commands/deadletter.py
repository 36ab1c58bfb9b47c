"""`headrace deadletter`: list, show and replay refused events."""

from typing import Annotated

import typer

from service.cli.completion import model_names
from service.cli.context import (
    ConfigOption,
    JsonOption,
    actor,
    app_for_command,
    out,
    reading,
    say,
    show_json,
    show_rows,
)
from service.cli.printing.layout import Column, facts, title
from service.cli.printing.wording import printable, size, when, words
from service.domain.stream.events import RefusalReason
from service.lazy import lazy_imports

with lazy_imports():
    from service.domain.registry import registry

COLUMNS = (
    Column("id", right=True),
    Column("reason"),
    Column("record"),
    Column("refused", "refused (UTC)", time=True),
    Column("detail"),
    Column("replayed"),
)

app = typer.Typer(no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)]
DeadLetterNumber = Annotated[int, typer.Argument(help="The dead letter's number.")]


@app.command("list")
def print_dead_letters(
    model: Model,
    config: ConfigOption = None,
    reason: Annotated[RefusalReason | None, typer.Option(help="Only this reason.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list at most.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List refused events, newest first."""
    with reading(config) as app_:
        app_.registry.models.get(model)
        rows = app_.registry.dead_letters.list(model, limit=limit, reason=reason)
        if as_json:
            show_json(rows)
        else:
            show_rows([_row(one) for one in rows], COLUMNS, none=f"no event of {model} was refused")


@app.command("show")
def print_dead_letter(
    model: Model, letter: DeadLetterNumber, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show one refused event with its bytes."""
    with reading(config) as app_:
        found = app_.registry.dead_letters.get(model, letter)
        if as_json:
            show_json(found)
        else:
            _show_letter(found)


@app.command()
def replay(model: Model, letter: DeadLetterNumber, config: ConfigOption = None) -> None:
    """Have the learner learn a refused event after all, once."""
    with app_for_command(config) as app_:
        say(app_.run_command(model, registry.CommandKind.REPLAY_DEAD_LETTER, {"id": letter}, actor=actor()))


def _row(letter: "registry.DeadLetter") -> dict[str, str]:
    return {
        "id": str(letter.id),
        "reason": words(letter.reason),
        "record": f"{letter.at.topic}[{letter.at.partition}] {letter.offset}",
        "refused": when(letter.created_at),
        "detail": letter.detail,
        "replayed": "yes" if letter.replayed_at else "",
    }


def _show_letter(letter: "registry.DeadLetter") -> None:
    title(out, f"Dead letter {letter.id}: {words(letter.reason)}", first=True)
    record = f"offset {letter.offset} of {letter.at.topic}[{letter.at.partition}], {size(letter.size)}"
    replayed = when(letter.replayed_at) if letter.replayed_at else "never"
    pairs = [
        ("detail", letter.detail),
        ("record", record),
        ("refused", when(letter.created_at)),
        ("replayed", replayed),
    ]
    facts(out, pairs, indent=2)
    title(out, "Its bytes")
    say(printable(letter.payload.decode(errors="backslashreplace")))
