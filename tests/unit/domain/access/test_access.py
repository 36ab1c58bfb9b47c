"""Roles and scopes of a principal."""

import pytest

from service.domain.access.access import ANONYMOUS, AccessRole, Principal

VIEWER, OPERATOR, ADMIN = AccessRole


@pytest.mark.parametrize(
    ("role", "needed", "expected"),
    [
        (VIEWER, VIEWER, True),
        (VIEWER, OPERATOR, False),
        (VIEWER, ADMIN, False),
        (OPERATOR, VIEWER, True),
        (OPERATOR, OPERATOR, True),
        (OPERATOR, ADMIN, False),
        (ADMIN, VIEWER, True),
        (ADMIN, ADMIN, True),
    ],
)
def test_a_role_covers_those_before_it(role: AccessRole, needed: AccessRole, expected: bool) -> None:
    """Each of viewer, operator and admin may do what those before it may, and no more."""
    assert role.covers(needed) is expected
    assert Principal("ann", role).may(needed, "any") is expected


@pytest.mark.parametrize(
    ("models", "model", "expected"),
    [
        (None, "a", True),
        (None, None, True),
        (frozenset("a"), "a", True),
        (frozenset("a"), "b", False),
        (frozenset("a"), None, True),
        (frozenset[str](), "a", False),
    ],
)
def test_a_scope_is_the_models_it_names(models: frozenset[str] | None, model: str | None, expected: bool) -> None:
    """A scoped principal may access its own models only, whatever its role."""
    assert Principal("ann", ADMIN, models).may(VIEWER, model) is expected


def test_anyone_may_do_everything() -> None:
    """Without tokens, every caller is an admin."""
    assert all(ANONYMOUS.may(role, "any") for role in AccessRole)
