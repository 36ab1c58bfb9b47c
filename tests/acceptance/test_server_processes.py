"""Workers that share a port, their metrics, their deaths; TLS; draining."""

import json
import os
import signal
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from river import datasets

from tests.acceptance.harness import Deployment, metric, phishing_events, terminate, wait_until
from tests.acceptance.serving import RunningServer, received, start_server
from tests.services.process import listens

XS: list[dict[str, Any]] = [x for x, _ in datasets.Phishing()]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A model that has learned."""
    made = Deployment(tmp_path_factory.mktemp("processes"))
    made.publish(phishing_events(300))
    made.command("learn", "--until-end")
    return made


def predicted(served: RunningServer) -> float:
    """How many items all workers have predicted, as any of them tells it."""
    return metric(served.port, "headrace_predictions_total", model="phishing") or 0.0


def predict(served: RunningServer) -> None:
    """One item, by any worker that is ready."""
    wait_until(lambda: served.predict(XS[0]).status == 200)


def test_workers_share_a_port_and_their_metrics_are_added_up(deployment: Deployment) -> None:
    """Any worker tells what all have predicted; one that was killed is started again, and nothing it counted is lost."""
    served = start_server(deployment, "--workers", "2")
    wait_until(lambda: len(served.pids) == 2)
    for _ in range(40):
        predict(served)
    wait_until(lambda: predicted(served) == 40.0)
    assert {predicted(served) for _ in range(8)} == {40.0}
    victim = served.pids[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(served.pids) == 3)
    wait_until(lambda: predicted(served) == 40.0)
    for _ in range(20):
        predict(served)
    wait_until(lambda: predicted(served) == 60.0)
    assert {predicted(served) for _ in range(8)} == {60.0}
    assert terminate(served.process) == 0
    assert all(not Path(f"/proc/{pid}").exists() for pid in served.pids)


def test_what_was_asked_is_answered_before_it_ends(deployment: Deployment) -> None:
    """A request whose body is still coming when SIGTERM comes is answered, and the exit code is 0.

    That the server waits for the body is known by its 100, and that it takes nobody else in, by its port.
    """
    served = start_server(deployment)
    body = json.dumps(XS[0]).encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as client:
        client.sendall(head % len(body))
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body[:20])
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(served.port))
        client.sendall(body[20:])
        assert received(client, wait_s=60).startswith(b"HTTP/1.1 200")
    assert served.process.wait(timeout=60) == 0


def test_tls_by_files(deployment: Deployment, tmp_path: Path) -> None:
    """With a certificate and its key the server speaks TLS and nothing else; without a readable key it does not start."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    deployment.server = {"tls": {"certfile": str(certificate), "keyfile": str(key)}}
    deployment.configure()
    try:
        served = start_server(deployment, ready=False)
        context = ssl.create_default_context(cafile=str(certificate))
        url = f"https://localhost:{served.port}/ping"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            assert answer.status == 200
        assert b"200" not in served.raw(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", wait_s=2)[:20]
        terminate(served.process)
        key.write_text("no key", encoding="ascii")
        failed = deployment.command("serve", "--port", "0", check=False)
        assert failed.returncode == 1
        assert "server.tls" in failed.stderr
    finally:
        deployment.server = {}
        deployment.configure()


def test_the_daemon_has_a_server(tmp_path: Path) -> None:
    """`headrace run` answers predictions; a server that is killed comes back, and the daemon goes on."""
    own = Deployment(tmp_path / "daemon")
    own.publish(phishing_events(200))
    daemon = own.start("run")
    served = RunningServer(own, daemon, 0, 0)
    wait_until(lambda: served.pids)
    os.kill(served.pids[0], signal.SIGKILL)
    wait_until(lambda: len(served.pids) == 2)
    served.port = int(served.log.split("server_started")[-1].split("port=")[1].split()[0])
    wait_until(lambda: served.predict(XS[0]).status == 200)
    assert daemon.poll() is None
    assert terminate(daemon) == 0


def test_a_taken_port_is_explained(deployment: Deployment) -> None:
    """The message names the port and the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = deployment.command("serve", "--port", str(port), check=False)
    assert found.returncode == 1
    assert f"{port} not free" in found.stderr
    assert "server.port" in found.stderr
