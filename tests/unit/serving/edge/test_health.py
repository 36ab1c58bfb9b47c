"""Tests of the three read-only routes of a role's own port."""

import http.client
import json
import socket

import pytest
from prometheus_client import CollectorRegistry

from service.domain.registry.checkpoint_metrics import CheckpointMetrics, MonitorStatus
from service.errors import ConfigurationError
from service.metrics.learner import PrometheusTelemetry
from service.serving.edge.health import health_server


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return the status and the body of a path."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_metrics_health_and_readiness() -> None:
    """Metrics are Prometheus text; readiness is 503 with reasons until there are none."""
    registry = CollectorRegistry()
    telemetry = PrometheusTelemetry(registry)
    reasons = ["phishing: the stream has been unreachable for 3 s"]
    with health_server(("127.0.0.1", 0), registry=registry, not_ready=lambda: reasons) as port:
        telemetry.batch_learned("phishing", {"learned": 5, "dead": 0}, 0.1)
        status, body = get(port, "/metrics")
        assert status == 200
        assert b'headrace_events_total{model="phishing",outcome="learned"} 5.0' in body
        assert get(port, "/healthz")[0] == 200
        status, body = get(port, "/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": reasons})
        reasons.clear()
        assert get(port, "/readyz")[0] == 200
        assert get(port, "/secret")[0] == 404


def test_a_taken_port_is_explained() -> None:
    """The message names the port and the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=rf"{port} not free .*learner\.port"),
            health_server(("127.0.0.1", port), registry=CollectorRegistry(), not_ready=list),
        ):
            pass


def test_drift_signals_only_rise() -> None:
    """A rollback that restores an older count of signals does not lower the counter."""
    registry = CollectorRegistry()
    telemetry = PrometheusTelemetry(registry)
    for signals in (2, 5, 3, 4):
        one = MonitorStatus("errors", value=0.1, signals=signals)
        telemetry.checkpoint_metrics("phishing", CheckpointMetrics(drift=[one]))
    found = registry.get_sample_value("headrace_drift_signals_total", {"model": "phishing", "monitor": "errors"})
    assert found == 4.0
