"""`headrace exclusion`: add, list and remove parts of the stream that a model must not learn."""

from typing import Annotated, Any

import typer

from service.cli.completion import model_names
from service.cli.context import ConfigOption, JsonOption, actor, app_for_command, out, reading, show_json, show_rows
from service.cli.printing.layout import Column
from service.cli.printing.wording import when
from service.domain.stream.exclusion import RANGE_FORMATS, format_range
from service.lazy import lazy_imports

with lazy_imports():
    from service.operations.history import exclusions
    from service.operations.reporting import describe

COLUMNS = (
    Column("id", right=True),
    Column("stretch", "left out"),
    Column("created", "since (UTC)", time=True),
    Column("by"),
    Column("reason"),
    Column("removed", "removed (UTC)", time=True),
)

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]


@app.command()
def add(
    name: Name,
    stretch: Annotated[str, typer.Argument(metavar="FROM..TO", help=RANGE_FORMATS)],
    config: ConfigOption = None,
    reason: Reason = "",
) -> None:
    """Exclude records: no lineage of the model learns them from now on."""
    with app_for_command(config) as app_:
        found = exclusions.record_exclusion(app_.services, name, stretch, actor=actor(), reason=reason)
        out.print(
            f"exclusion {found.id} of {name}: {format_range(found.excluded_range)}", markup=False, highlight=False
        )
        out.print(
            f"what has been learned of it stays learned until `headrace model rollback {name} --mode replay`",
            markup=False,
            highlight=False,
        )


@app.command("list")
def print_exclusions(
    name: Name,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="Include exclusions that were removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what no lineage of the model may learn."""
    with reading(config) as app_:
        app_.registry.models.get(name)
        rows = [describe.exclusion_row(one) for one in app_.registry.exclusions.list(name, removed=every)]
        if as_json:
            show_json(rows)
        else:
            show_rows([_row(one) for one in rows], COLUMNS, none=f"nothing is excluded from {name}")


@app.command()
def remove(
    name: Name,
    number: Annotated[int, typer.Argument(help="The exclusion's number.")],
    config: ConfigOption = None,
    reason: Reason = "",
) -> None:
    """Allow the records again; records that were passed over are not learned because of that."""
    with reading(config) as app_:
        app_.registry.models.get(name)
        found = app_.registry.exclusions.remove(name, number, actor=actor(), reason=reason)
        out.print(f"{format_range(found.excluded_range)} of {name} is excluded no more", markup=False, highlight=False)


def _row(found: dict[str, Any]) -> dict[str, str]:
    return {
        "id": str(found["id"]),
        "stretch": found["stretch"],
        "created": when(found["created_at"]),
        "by": found["created_by"],
        "reason": found["reason"],
        "removed": when(found["removed_at"]) if found["removed_at"] else "",
    }
