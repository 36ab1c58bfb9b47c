"""Services shared by a test run; each test has a topic and a database of its own."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.services import kafka, postgres
from tests.services.presence import need


@pytest.fixture(autouse=True)
def _log_anew() -> Iterator[None]:
    """A command that ran in this process leaves its logger's file closed."""
    yield
    structlog.reset_defaults()


settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")


@contextmanager
def _started(server: kafka.Broker | postgres.Postgres) -> Iterator[None]:
    """Started for the block; stopped even where starting failed half-way."""
    try:
        server.start()
        yield
    finally:
        server.stop()


@contextmanager
def _broker(folder: Path) -> Iterator[kafka.Broker]:
    need(kafka.why_not())
    folder.mkdir(exist_ok=True)
    found = kafka.Broker(folder)
    with _started(found):
        yield found


@contextmanager
def _postgres() -> Iterator[postgres.Postgres]:
    need(postgres.why_not())
    found = postgres.Postgres()
    try:
        with _started(found):
            yield found
    finally:
        found.remove()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Broker]:
    """A Kafka broker for the whole run."""
    with _broker(tmp_path_factory.mktemp("kafka")) as found:
        yield found


@pytest.fixture
def private_broker(tmp_path: Path) -> Iterator[kafka.Broker]:
    """A Kafka broker that the test may stop."""
    with _broker(tmp_path / "kafka") as found:
        yield found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server for the whole run."""
    with _postgres() as found:
        yield found


@pytest.fixture
def private_postgres() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server that the test may stop."""
    with _postgres() as found:
        yield found


@pytest.fixture
def postgres_url(postgres_server: postgres.Postgres) -> str:
    """A fresh database."""
    return postgres_server.database()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test has."""
    return f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())[:60]}-{uuid.uuid4().hex[:8]}"
