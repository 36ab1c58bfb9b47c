"""Uvicorn's internals are as `connections` and `cli.roles.serve` assume."""

import asyncio
import inspect
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.cli.roles import serve
from service.serving.edge import connections
from tests.internals import changed
from tests.unit.serving.edge.test_connections import Transport, request

WHY = changed("uvicorn", module=connections)
METHODS = {
    "connection_made": ["self", "transport"],
    "data_received": ["self", "data"],
    "on_message_begin": ["self"],
    "on_headers_complete": ["self"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "_start_asgi_task": ["self", "cycle", "app"],
}
CONNECTION = {"cycle", "flow", "loop", "pipeline", "scope", "server_state", "timeout_keep_alive", "transport", "url"}
CYCLE = {
    "body": bytearray(b"abc"),
    "disconnected": False,
    "keep_alive": True,
    "more_body": False,
    "response_complete": False,
    "response_started": False,
    "waiting_for_100_continue": False,
}


@pytest.mark.parametrize("name", METHODS)
def test_a_callback_has_its_arguments(name: str) -> None:
    """The callbacks that the connection overrides or calls have the expected arguments."""
    assert [*inspect.signature(getattr(HttpToolsProtocol, name)).parameters] == METHODS[name], WHY


def test_a_request_leaves_its_marks() -> None:
    """A connection of uvicorn has the parts, and its cycle the state, that `Exchange` sets."""
    asyncio.run(_receive_a_request())


async def _receive_a_request() -> None:
    config = uvicorn.Config(_silent, http="httptools", log_config=None)
    config.load()
    found: Any = HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    found.connection_made(Transport())
    found.data_received(request(b"abc"))
    assert vars(found).keys() >= CONNECTION, WHY
    cycle: RequestResponseCycle = found.cycle
    assert {name: getattr(cycle, name) for name in CYCLE} == CYCLE, WHY
    assert isinstance(cycle.message_event, asyncio.Event), WHY
    assert (cycle.transport, cycle.flow) == (found.transport, found.flow), WHY
    assert cycle.on_response == found.on_response_complete, WHY
    assert found.flow.write_paused is False, WHY
    assert found.url == b"/echo", WHY
    assert found.server_state.total_requests == 0, WHY


def test_the_server_has_its_ways_in() -> None:
    """The server has the connections, sockets and signals on which start and end build."""
    why = changed("uvicorn", module=serve)
    for name in ("startup", "shutdown"):
        assert inspect.iscoroutinefunction(getattr(uvicorn.Server, name)), why
        assert [*inspect.signature(getattr(uvicorn.Server, name)).parameters] == ["self", "sockets"], why
    server = uvicorn.Server(uvicorn.Config(_silent, log_config=None))
    assert hasattr(server.capture_signals(), "__enter__"), why
    assert server.should_exit is False, why
    assert server.server_state.connections == set(), why


async def _silent(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""
