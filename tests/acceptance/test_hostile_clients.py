"""What clients may do to a server without harming anybody else."""

import json
import resource
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from river import datasets

from tests.acceptance.harness import Deployment, phishing_events, terminate
from tests.acceptance.serving import RunningServer, received, start_server

X: dict[str, Any] = next(x for x, _ in datasets.Phishing())
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
MANY = 10_000
PATIENT_S = 8.0
"""Whoever is held up by another client would wait longer, whatever else the machine does."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with little patience."""
    made = Deployment(tmp_path_factory.mktemp("hostile"), server={"timeout": "2s", "max_body": "100KB"})
    made.publish(phishing_events(300))
    made.command("learn", "--until-end")
    started = start_server(made)
    yield started
    terminate(started.process)


@pytest.fixture(autouse=True, scope="module")
def _no_process_is_left() -> None:
    """The module's server outlives its tests."""


def quick(served: RunningServer) -> float:
    """How long the slowest of twenty good requests takes."""
    took = []
    for _ in range(20):
        began = time.monotonic()
        assert served.predict(X).status == 200
        took.append(time.monotonic() - began)
    return max(took)


@pytest.mark.parametrize("start", [b"", b"POST /invo", HEAD, HEAD + b"Content-Length: 50\r\n\r\n{"], ids=len)
def test_a_slow_client_is_let_go(served: RunningServer, start: bytes) -> None:
    """Whoever takes longer than server.timeout is told 408 once a request has begun, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(start)
        assert quick(served) < PATIENT_S
        began = time.monotonic()
        found = received(client, wait_s=2 * PATIENT_S)
        assert time.monotonic() - began < PATIENT_S
    assert found.startswith(b"HTTP/1.1 408") or (len(start) < 20 and not found)


def test_dripping_bytes_do_not_prolong_it(served: RunningServer) -> None:
    """A byte now and then does not make a late request early."""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\n\r\n")
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - one of these is the last
            while time.monotonic() - began < 2 * PATIENT_S:
                client.sendall(b" ")
                time.sleep(0.2)
        assert time.monotonic() - began < PATIENT_S


def test_an_endless_body_is_refused(served: RunningServer) -> None:
    """A chunked body without an end is answered by 413 as soon as it is too large, and read no further."""
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 100_000_000:
                client.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        assert sent < 20_000_000
    assert quick(served) < PATIENT_S


def test_a_large_body_is_refused_by_its_length(served: RunningServer) -> None:
    """A body that says it is too large is answered by 413 before it is sent."""
    assert served.raw(HEAD + b"Content-Length: 200000\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_a_compressed_bomb_is_not_opened(served: RunningServer) -> None:
    """A compressed body is refused with 415 as it is."""
    bomb = zlib.compress(b" " * 50_000_000, 9)
    assert len(bomb) < 100_000
    assert served.ask("/invocations", bomb, content_encoding="gzip").status == 415
    assert quick(served) < PATIENT_S


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"A" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
    ids=lambda data: data[:20].decode("latin-1").strip(),
)
def test_malformed_http_harms_nobody(served: RunningServer, data: bytes) -> None:
    """What is no HTTP, or has a head past all measure, ends its own connection."""
    found = served.raw(data, wait_s=6)
    assert not found or found.split(b" ")[1].startswith(b"4")
    assert quick(served) < PATIENT_S


def test_ten_thousand_idle_connections(served: RunningServer) -> None:
    """As many as the system allows, up to ten thousand, cost the others nothing that they would notice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _raise_limit(served.process.pid, hard)
    many = min(MANY, hard - 500)
    try:
        with ExitStack() as stack:
            for _ in range(many):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
                client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(200)
            assert quick(served) < PATIENT_S
            assert json.loads(served.get("/readyz")[1])["ready"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _raise_limit(pid: int, hard: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
