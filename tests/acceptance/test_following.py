"""Replicas follow every change of champion while they are asked."""

from pathlib import Path

import pytest

from tests.acceptance.following import newest_change, promote_another, two_replicas, wait_for_version
from tests.acceptance.harness import PHISHING, Deployment, phishing_events

WITHIN_S = 120.0
"""They need a fraction of a second, as the benchmark `overload` measures; here a machine may be busy."""


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_replicas_follow_a_promotion_and_a_rollback(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """Two replicas answer from the new champion after each change, and no request fails."""
    url = None if database == "sqlite" else str(request.getfixturevalue("postgres_url"))
    found = Deployment(tmp_path / "one", {**PHISHING, "promote": {"mode": "manual"}}, registry_url=url)
    found.publish(phishing_events(500))
    with two_replicas(found, learned=500) as clients:
        promote_another(found)
        assert newest_change(found, "promote")[1] == 2
        wait_for_version(clients, 2, timeout_s=WITHIN_S)
        found.command("model", "rollback", "phishing", "--to", "1", "--wait")
        wait_for_version(clients, newest_change(found, "rollback")[1], timeout_s=WITHIN_S)
    assert {status for client in clients for _, status, _ in client.seen} == {200}
