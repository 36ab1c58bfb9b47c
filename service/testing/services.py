"""Replaces parts of the services, whichever group they are in."""

from dataclasses import fields, replace
from typing import Any

from service.operations.services import Services

GROUPS = ("registry", "streams", "states", "learner")


def with_parts(services: Services, **parts: Any) -> Services:
    """Return the services with these parts instead of theirs; TypeError for a name that no group has."""
    own = {field.name for field in fields(Services)}
    for group in GROUPS:
        held = getattr(services, group)
        mine = {field.name: parts.pop(field.name) for field in fields(held) if field.name in parts}
        if mine:
            services = replace(services, **{group: replace(held, **mine)})
    if unknown := parts.keys() - own:
        msg = f"found {', '.join(sorted(unknown))}, expected parts of the services"
        raise TypeError(msg)
    return replace(services, **parts)
