"""What tests spend of real time, in one place: deaths, leases and patience, and which combinations wait for `make test-all`.

A number is lowered here to look for a mistake quickly, and raised to look for a rare one.
"""

from typing import Any

import pytest

LEASE_TTL = "5s"
"""Of deployments that do not say; shorter than a stalled machine may halt a process, and a learner loses its lease."""
SHORT_LEASE_TTL = "2s"
"""Of deployments whose test waits until a lease has run out."""

DEATHS, MOST_DEATHS = 30, 120
"""SIGKILLs of a storm: so many at least, and until half as many have found a learner with something left to learn."""
BETWEEN_DEATHS = 2500
"""Events that are published for each."""
STARTING, LONGEST_LIFE_S = 0.3, 0.5
"""The share of learners that may be killed while they start, and how long the others learn at most."""

ROLLBACKS = 10
"""In a storm of rollbacks; each has three deaths around it."""
LEARNING, WITHIN = 20, 3
"""So many deaths hit a learner that was learning and had more to learn, and so many a rollback in the middle."""

SPECIFICATION_S = 30
"""For requests that are made up from the specification; `make test-all` takes a minute more."""

FULL = pytest.mark.full
STREAMS = ["log", "librdkafka", pytest.param("kafka-python", marks=FULL)]
"""The embedded log, and Kafka by one driver; the contract of streams is proved for the other one as well."""
PLACES = [
    pytest.param(("log", "sqlite"), id="log-sqlite"),
    pytest.param(("librdkafka", "postgresql"), id="librdkafka-postgresql"),
    pytest.param(("kafka-python", "postgresql"), id="kafka-python-postgresql", marks=FULL),
    pytest.param(("log", "postgresql"), id="log-postgresql", marks=FULL),
    pytest.param(("librdkafka", "sqlite"), id="librdkafka-sqlite", marks=FULL),
    pytest.param(("kafka-python", "sqlite"), id="kafka-python-sqlite", marks=FULL),
]
"""Both ends of stream and registry; what lies between them differs in nothing that either end does not have."""


def stream_settings(request: pytest.FixtureRequest, stream: str) -> dict[str, Any] | None:
    """The stream's part of a configuration; None for the embedded log."""
    if stream == "log":
        return None
    return {"bootstrap_servers": request.getfixturevalue("broker").bootstrap, "driver": stream}


def registry_url(request: pytest.FixtureRequest, database: str) -> str | None:
    """The registry's address; None for the folder's own SQLite file."""
    return None if database == "sqlite" else str(request.getfixturevalue("postgres_url"))
