"""Give every request an id, an access log line, and a count by route and status."""

import os
import re
import time
from dataclasses import dataclass
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ports.telemetry import ServingTelemetry
from service.serving.edge.access_log import AccessLog, AccessLogEntry
from service.serving.edge.probes import PROBE_PATHS
from service.serving.edge.scope import REQUEST_RECORD, headers_of

CLIENT_CLOSED_REQUEST = 499
"""The status that is counted if the client disconnected before its response."""

_SAFE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_KNOWN_PATHS = {path: path for path in PROBE_PATHS | {"/invocations"}}
_MODEL_PATH = re.compile(r"/models/[^/]+/(invocations|async-invocations|events|labels)")


@dataclass(slots=True)
class RequestRecord:
    """A request's id, and the status of its response once there is one."""

    request_id: bytes
    status: int = CLIENT_CLOSED_REQUEST


class RequestAccounting:
    """Counts and logs requests; bodies, queries and tokens never appear."""

    def __init__(self, telemetry: ServingTelemetry, log: AccessLog | None) -> None:
        self._count_request = telemetry.request_completed
        self._log_request = log.append if log is not None else None
        self._prefix = os.urandom(6).hex().encode()
        self._numbers = count(1)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application with accounting around it."""

        async def accounted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = time.perf_counter()
            record = scope[REQUEST_RECORD] = RequestRecord(self._request_id(headers_of(scope).get(b"x-request-id")))

            async def send_recorded(message: Message) -> None:
                if message["type"] == "http.response.start":
                    record.status = message["status"]
                    message["headers"] = [*message.get("headers", ()), (b"x-request-id", record.request_id)]
                await send(message)

            try:
                await app(scope, receive, send_recorded)
            finally:
                self._record(scope, record, time.perf_counter() - began)

        return accounted

    def _request_id(self, client_request_id: bytes | None) -> bytes:
        """Return the client's `X-Request-Id` if it is safe to log, otherwise an id of our own."""
        if client_request_id is not None and _SAFE_REQUEST_ID.fullmatch(client_request_id):
            return client_request_id
        return b"%s-%x" % (self._prefix, next(self._numbers))

    def _record(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        path = scope["path"]
        self._count_request(route_label(path), record.status)
        if self._log_request is not None and path not in PROBE_PATHS:
            client = scope.get("client")
            host = client[0] if client else None
            self._log_request(
                AccessLogEntry(time.time(), record.request_id, host, scope["method"], path, record.status, seconds)
            )


def route_label(path: str) -> str:
    """Return the route under which a path is counted, which never contains text that a client chose."""
    if path in _KNOWN_PATHS:
        return _KNOWN_PATHS[path]
    found = _MODEL_PATH.fullmatch(path)
    if found:
        return f"/models/{{m}}/{found[1]}"
    return "/api/v1" if path.startswith("/api/v1/") else "other"
