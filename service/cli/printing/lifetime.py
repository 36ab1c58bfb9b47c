"""Parse how long a token is valid."""

import typer
from pydantic import TypeAdapter, ValidationError

from service.domain.specification.units import Duration


def seconds(text: str) -> float:
    """Return a duration such as 30d in seconds; raise typer.BadParameter for anything else."""
    try:
        return float(TypeAdapter(Duration).validate_python(text))
    except ValidationError as error:
        msg = f"found {text!r}, expected a time such as 30d or 12h"
        raise typer.BadParameter(msg) from error
