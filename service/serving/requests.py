"""Accounts for every request: its id, a line in the log, and how often which route gave which status."""

import os
import re
import time
from itertools import count

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ports import ServingTelemetry
from service.serving.probes import PATHS

_log = structlog.get_logger(__name__)

GONE = 499
"""What is counted where the client went away before its answer."""

_SANE = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_KNOWN = {path: path for path in PATHS | {"/invocations"}}
_OF_MODEL = re.compile(r"/models/[^/]+/(invocations|async-invocations|events|labels)")


class Accounting:
    """What is told of requests; bodies, queries and tokens never are."""

    def __init__(self, telemetry: ServingTelemetry, *, log: bool) -> None:
        self.telemetry = telemetry
        self.log = log
        self._prefix = os.urandom(6).hex().encode()
        self._numbers = count(1)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, accounted for."""

        async def accounted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await _Account(self, scope).follow(app, receive, send)
            else:
                await app(scope, receive, send)

        return accounted

    def new_id(self) -> bytes:
        """One that no other request has."""
        return b"%s-%x" % (self._prefix, next(self._numbers))


class _Account:
    """One request's."""

    def __init__(self, ours: Accounting, scope: Scope) -> None:
        self._ours = ours
        self._scope = scope
        self._status = 0
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self._id: bytes = given if _SANE.fullmatch(given) else ours.new_id()

    async def follow(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        began = time.perf_counter()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", self._id)]
            await send(message)

        self._scope["state"]["request_id"] = self._id.decode("ascii")
        try:
            await app(self._scope, receive, told)
        finally:
            self._close(time.perf_counter() - began)

    def _close(self, seconds: float) -> None:
        path: str = self._scope["path"]
        status = self._status or GONE
        self._ours.telemetry.answered(route(path), status)
        if self._ours.log and path not in PATHS:
            client = self._scope.get("client")
            _log.info(
                "request",
                id=self._id.decode("ascii"),
                client=client[0] if client else None,
                method=self._scope["method"],
                path=path[:200],
                status=status,
                ms=round(seconds * 1000, 2),
            )


def route(path: str) -> str:
    """What a path is counted as: an address of the program's own, never what a client made up."""
    if path in _KNOWN:
        return _KNOWN[path]
    found = _OF_MODEL.fullmatch(path)
    if found:
        return f"/models/{{m}}/{found[1]}"
    return "/api/v1" if path.startswith("/api/v1/") else "other"
