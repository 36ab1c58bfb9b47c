"""Errors become problem responses."""

import json
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from service import errors
from service.errors import HeadraceError
from service.serving.edge import errors as edge_errors
from service.serving.edge import problems

CASES: list[tuple[HeadraceError, int]] = [
    (errors.ConfigurationError("found x"), 422),
    (errors.SpecificationError("models[0]", "found x"), 422),
    (errors.RefusedError("found x"), 409),
    (errors.ChallengerUnfitError("found x"), 409),
    (errors.LeaseHeldError("found x"), 409),
    (errors.BelowStartError("found x"), 409),
    (errors.NotFoundError("found x"), 404),
    (errors.TamperedError("found x"), 500),
    (errors.DataLeakError("found x"), 422),
    (errors.RecordTooLargeError("found x"), 413),
    (errors.UnavailableError("found x"), 503),
    (errors.EstimatorError("found x"), 500),
    (HeadraceError("found x"), 500),
    (edge_errors.UnauthorizedError(), 401),
    (edge_errors.ForbiddenError("found x"), 403),
    (edge_errors.NotAcceptableError("found x"), 406),
    (edge_errors.RequestTimeoutError("found x"), 408),
    (edge_errors.ConflictError("found x"), 409),
    (edge_errors.TooLargeError("found x"), 413),
    (edge_errors.UnsupportedMediaError("found x"), 415),
    (edge_errors.MalformedError("found x"), 400),
    (edge_errors.UnprocessableError("found x"), 422),
    (edge_errors.TooManyRequestsError("found x", retry_after_s=0.2), 429),
]


def every(kind: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    """Yield the class and all its subclasses."""
    yield kind
    for one in kind.__subclasses__():
        yield from every(one)


@pytest.mark.parametrize(("error", "status"), CASES, ids=lambda case: type(case).__name__)
def test_an_error_is_a_problem(error: HeadraceError, status: int) -> None:
    """Every error has a status, and a body of RFC 9457 with the error's message."""
    found = problems.problem_response(error, instance="/here")
    body = json.loads(bytes(found.body))
    assert (found.status_code, body["status"], found.media_type) == (status, status, "application/problem+json")
    assert body["type"].startswith("urn:headrace:problem:")
    assert (body["detail"], body["instance"]) == (str(error), "/here")


def test_no_error_is_forgotten() -> None:
    """Every error class except the roots has a problem type nearer than the root's."""
    roots = {HeadraceError, edge_errors.EdgeError}
    plain = [one for one in every(HeadraceError) if one.__module__.startswith("service") and one not in roots]
    assert [one for one in plain if not any(base in problems.PROBLEM_TYPES for base in one.__mro__[:-4])] == []


def test_codes_say_one_thing() -> None:
    """No two problem types share a code."""
    codes = [kind.code for kind in problems.PROBLEM_TYPES.values()]
    assert len(codes) == len(set(codes))


def test_the_command_that_helps_is_apart() -> None:
    """If the message names a command, `help` is that command."""
    found = problems.problem_response(
        errors.NotFoundError("found no model x; see `headrace model list` for those there are")
    )
    assert json.loads(bytes(found.body))["help"] == "headrace model list"


@pytest.mark.parametrize(("seconds", "expected"), [(0.01, "1"), (1.2, "2"), (60, "60")])
def test_too_many_says_when_to_come_back(seconds: float, expected: str) -> None:
    """`Retry-After` is a whole number of seconds, at least one."""
    assert (
        problems.problem_response(edge_errors.TooManyRequestsError("found x", retry_after_s=seconds)).headers[
            "retry-after"
        ]
        == expected
    )


def test_what_nobody_expected_stays_inside() -> None:
    """A crash reveals nothing of itself to the client."""
    request = Request({"type": "http", "path": "/x", "query_string": b"", "headers": [], "server": ("h", 1)})
    found = problems.handle_unexpected_error(request, RuntimeError("password=hunter2"))
    assert found.status_code == 500
    assert b"hunter2" not in bytes(found.body)
