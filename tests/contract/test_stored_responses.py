"""Stored responses by idempotency key, over SQLite and PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from service.domain.access.stored_response import StoredResponse
from service.errors import IdempotencyKeyError, RefusedError
from service.storage.access import idempotency
from service.storage.registry import Registry
from service.storage.schema.access import answers
from tests.contract.registry_values import count

MADE = StoredResponse("a" * 64, 201, {"location": "/x"}, b'{"id":1}')


def test_the_first_answer_is_given_again(registry: Registry) -> None:
    """The same key with the same request gets the stored response, for its owner only."""
    assert registry.stored_responses.claim("ann", "k", request_digest=MADE.request) is None
    registry.stored_responses.save("ann", "k", MADE)
    assert registry.stored_responses.claim("ann", "k", request_digest=MADE.request) == MADE
    assert registry.stored_responses.claim("bob", "k", request_digest=MADE.request) is None


def test_a_key_is_for_one_request(registry: Registry) -> None:
    """Another request under the same key is refused."""
    registry.stored_responses.claim("ann", "k", request_digest=MADE.request)
    registry.stored_responses.save("ann", "k", MADE)
    with pytest.raises(IdempotencyKeyError):
        registry.stored_responses.claim("ann", "k", request_digest="b" * 64)


def test_what_is_being_answered_is_not_done_twice(registry: Registry) -> None:
    """A second request is told to wait while the first runs; once the key is released, it may run."""
    registry.stored_responses.claim("ann", "k", request_digest=MADE.request)
    with pytest.raises(RefusedError, match="still being answered"):
        registry.stored_responses.claim("ann", "k", request_digest=MADE.request)
    registry.stored_responses.release("ann", "k")
    assert registry.stored_responses.claim("ann", "k", request_digest=MADE.request) is None


def test_one_of_many_at_once_may(open_one: Callable[[], Registry]) -> None:
    """Of twelve requests that claim a key at once on three connections, one gets it."""
    registries = [open_one() for _ in range(3)]

    def claimed(number: int) -> bool:
        try:
            return registries[number % 3].stored_responses.claim("ann", "k", request_digest=MADE.request) is None
        except RefusedError:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(claimed, range(12))) == 1


@pytest.mark.parametrize(("age", "settled"), [(idempotency.KEPT_FOR, True), (idempotency.CLAIM_EXPIRES_AFTER, False)])
def test_old_keys_are_free_again(registry: Registry, age: timedelta, settled: bool) -> None:
    """A key is free again after a day, or after minutes if its request never got a response."""
    registry.stored_responses.claim("ann", "k", request_digest=MADE.request)
    if settled:
        registry.stored_responses.save("ann", "k", MADE)
    with registry.database.write_transaction() as connection:
        past = registry.database.now(connection) - age - timedelta(seconds=1)
        connection.execute(update(answers).values(created_at=past))
    assert registry.stored_responses.claim("ann", "k", request_digest="b" * 64) is None


def test_few_are_kept(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of stored responses is bounded."""
    monkeypatch.setattr(idempotency, "MAX_RESPONSES", 5)
    for number in range(12):
        registry.stored_responses.claim("ann", f"{number}", request_digest=MADE.request)
    assert count(registry, "answers") <= 6


def test_a_large_answer_is_not_kept(registry: Registry) -> None:
    """A response too large to store releases its key."""
    registry.stored_responses.claim("ann", "k", request_digest=MADE.request)
    registry.stored_responses.save(
        "ann", "k", StoredResponse(MADE.request, 200, {}, b"x" * (idempotency.MAX_BODY_BYTES + 1))
    )
    assert registry.stored_responses.claim("ann", "k", request_digest=MADE.request) is None
