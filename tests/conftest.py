"""Services shared by a test run; each test has a topic and a database of its own."""

import ctypes
import os
import re
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.services import kafka, postgres
from tests.services.presence import need
from tests.services.shared import shared

PR_SET_PDEATHSIG = 1


@pytest.fixture(autouse=True)
def _log_anew() -> Iterator[None]:
    """A command that ran in this process leaves its logger's file closed."""
    yield
    structlog.reset_defaults()


def pytest_configure(config: pytest.Config) -> None:
    """An interrupted run leaves nothing behind: workers die with it, and what they have started dies with them."""
    if hasattr(config, "workerinput"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    elif config.getoption("numprocesses", None):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends in order, as by Ctrl-C


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
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def broker(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Shared]:
    """A Kafka broker for the whole run."""
    with shared(run_folder, "kafka", lambda: _broker(tmp_path_factory.mktemp("kafka"))) as port:
        yield kafka.Shared(port)


@pytest.fixture
def private_broker(tmp_path: Path) -> Iterator[kafka.Broker]:
    """A Kafka broker that the test may stop."""
    with _broker(tmp_path / "kafka") as found:
        yield found


@pytest.fixture(scope="session")
def postgres_server(run_folder: Path) -> Iterator[postgres.Databases]:
    """A PostgreSQL server for the whole run."""
    with shared(run_folder, "postgres", _postgres) as port:
        yield postgres.Databases(port)


@pytest.fixture
def private_postgres() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server that the test may stop."""
    with _postgres() as found:
        yield found


@pytest.fixture
def postgres_url(postgres_server: postgres.Databases) -> str:
    """A fresh database."""
    return postgres_server.database()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test has."""
    return f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())[:60]}-{uuid.uuid4().hex[:8]}"
