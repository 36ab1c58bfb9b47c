"""Accounts for every request: its id, a line in the log, and how often which route gave which status."""

import os
import re
import time
from dataclasses import dataclass
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ports.telemetry import ServingTelemetry
from service.serving.edge.access_log import AccessLog, Line
from service.serving.edge.probes import PATHS
from service.serving.edge.scope import ACCOUNT, headers_of

GONE = 499
"""What is counted where the client went away before its answer."""

_SANE = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_KNOWN = {path: path for path in PATHS | {"/invocations"}}
_OF_MODEL = re.compile(r"/models/[^/]+/(invocations|async-invocations|events|labels)")


@dataclass(slots=True)
class Account:
    """What is known of a request: its id, and the status of its answer once there is one."""

    key: bytes
    status: int = GONE


class Accounting:
    """What is told of requests; bodies, queries and tokens never are."""

    def __init__(self, telemetry: ServingTelemetry, log: AccessLog | None) -> None:
        self._answered = telemetry.answered
        self._note = log.note if log is not None else None
        self._prefix = os.urandom(6).hex().encode()
        self._numbers = count(1)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, accounted for."""

        async def accounted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = time.perf_counter()
            account = scope[ACCOUNT] = Account(self._key(headers_of(scope).get(b"x-request-id")))

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    account.status = message["status"]
                    message["headers"] = [*message.get("headers", ()), (b"x-request-id", account.key)]
                await send(message)

            try:
                await app(scope, receive, told)
            finally:
                self._close(scope, account, time.perf_counter() - began)

        return accounted

    def _key(self, given: bytes | None) -> bytes:
        """What the client calls it, if that can stand in a log; a number of our own otherwise."""
        if given is not None and _SANE.fullmatch(given):
            return given
        return b"%s-%x" % (self._prefix, next(self._numbers))

    def _close(self, scope: Scope, account: Account, seconds: float) -> None:
        path = scope["path"]
        self._answered(route(path), account.status)
        if self._note is not None and path not in PATHS:
            client = scope.get("client")
            host = client[0] if client else None
            self._note(Line(time.time(), account.key, host, scope["method"], path, account.status, seconds))


def route(path: str) -> str:
    """What a path is counted as: an address of the program's own, never what a client made up."""
    if path in _KNOWN:
        return _KNOWN[path]
    found = _OF_MODEL.fullmatch(path)
    if found:
        return f"/models/{{m}}/{found[1]}"
    return "/api/v1" if path.startswith("/api/v1/") else "other"
