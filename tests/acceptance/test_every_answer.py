"""A real client gets every answer that the specification has: every operation, form of body and status of refusal."""

import re
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from service.storage.schema.registry import artifacts
from tests.acceptance.admin_api import PREFIX, Api, open_api

X = {"long_url": 0.5, "is_https": 1.0}
LINES = "application/jsonlines"
JSON = "application/json"
PROBLEM = "application/problem+json"
LARGE = 100_000
RATE = 20
"""So few a second that any machine can ask more often."""
Seen = tuple[str, str, int, str]
"""Operation, type of the request's body, status, type of the answer's."""


class Driver:
    """Sends requests, and notes which operation of the specification has answered how."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.specification = api.ask("GET", "/openapi.json", None).json()
        self.seen: Counter[Seen] = Counter()
        self._addresses = [
            (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operation["operationId"])
            for path, item in self.specification["paths"].items()
            for method, operation in item.items()
        ]

    def ask(self, method: str, path: str, name: str | None = "admin", **given: Any) -> httpx.Response:
        """One request, and again when it is told to wait; each answer is in the specification."""
        with self._api.client(name) as client:
            while (answer := client.request(method, path, **given)).status_code == 429:
                self.note(answer)
                time.sleep(int(answer.headers["retry-after"]))
        self.note(answer)
        return answer

    def note(self, answer: httpx.Response) -> None:
        """Which operation has answered how."""
        asked = answer.request
        fitting = [
            name
            for method, address, name in self._addresses
            if method == asked.method and address.fullmatch(asked.url.path)
        ]
        if not fitting:
            return
        kinds = [one.headers.get("content-type", "").partition(";")[0] for one in (asked, answer)]
        self.seen[fitting[0], kinds[0], answer.status_code, kinds[1]] += 1
        responses = self.operation(fitting[0])["responses"]
        assert str(answer.status_code) in responses, (fitting[0], answer.status_code, answer.text)
        if answer.content:
            assert kinds[1] in responses[str(answer.status_code)]["content"], (fitting[0], answer.status_code, kinds[1])

    def operation(self, name: str) -> Any:
        """By its id."""
        items = self.specification["paths"].values()
        return next(one for item in items for one in item.values() if one["operationId"] == name)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """A server that is soon told too much, with a model in its file that nobody has begun."""
    return open_api(tmp_path, unborn=True, max_body=LARGE, timeout="5s", rate=RATE)


def predictions_in_every_form(driver: Driver, api: Api) -> None:
    """JSON, JSON Lines and CSV are taken, and answered in each of the three."""
    bodies = {JSON: b'{"long_url": 0.5}', LINES: b'{"long_url": 0.5}\n', "text/csv": b"long_url\n0.5\n"}
    for path in ("/models/phishing/invocations", "/invocations"):
        name = "viewer" if "models" in path else "viewer-of-other"
        for kind, body in bodies.items():
            for accepted in bodies:
                given = {"content": body, "headers": {"Content-Type": kind, "Accept": accepted}}
                assert driver.ask("POST", path, name, **given).headers["content-type"].startswith(accepted)


def ingestion_in_every_form(driver: Driver, api: Api) -> None:
    """Events and labels as JSON and as JSON Lines are accepted; as CSV they are of a kind that this model does not read."""
    event = b'{"id": "n1", "x": {"long_url": 0.5}, "y": true}'
    for path in ("/models/phishing/events", "/models/late/labels"):
        for kind, body, status in ((JSON, event, 202), (LINES, event + b"\n", 202), ("text/csv", b"1,2\n", 415)):
            found = driver.ask("POST", path, "operator", content=body, headers={"Content-Type": kind})
            assert found.status_code == status, found.text


def every_operation_of_the_admin_api(driver: Driver, api: Api) -> None:
    """Each is done once as it should."""
    ask = driver.ask
    v1 = f"{PREFIX}/models/phishing"
    for path in ("/me", "/models", "/jobs", "/audit", "/tokens"):
        assert ask("GET", PREFIX + path).status_code == 200
    for path in (
        "",
        "/metrics",
        "/challengers",
        "/versions",
        "/versions/1",
        "/diff?one=1&other=1",
        "/exclusions",
        "/jobs",
    ):
        assert ask("GET", v1 + path).status_code == 200, path
    for path in ("/drift", "/dead-letters", "/dead-letters/1", "/audit"):
        assert ask("GET", v1 + path).status_code == 200, path
    command = ask("POST", f"{v1}/snapshot", json={}).json()["id"]
    assert ask("GET", f"{PREFIX}/commands/{command}").status_code == 200
    for act in ("freeze", "unfreeze", "apply"):
        assert ask("POST", f"{v1}/{act}", json={}).status_code == 200
    assert ask("POST", f"{v1}/rollback", json={"to": "1", "dry_run": True}).status_code == 200
    exclusion = ask("POST", f"{v1}/exclusions", json={"stretch": "1..2"}).json()["id"]
    assert ask("DELETE", f"{v1}/exclusions/{exclusion}").status_code == 204
    job = ask("POST", f"{v1}/jobs", json={}).json()["id"]
    for method, path in (("GET", f"/jobs/{job}"), ("GET", f"/jobs/{job}/logs"), ("POST", f"/jobs/{job}/stop")):
        assert ask(method, v1 + path, **({"json": {}} if method == "POST" else {})).status_code == 200
    api.deployment.model["drift"] = [{"name": "errors", "on": "error", "detector": "drift.ADWIN"}]
    api.deployment.configure()
    assert ask("POST", f"{v1}/drift/check", json={"history": 1000}).status_code == 200
    spec = {key: api.deployment.model[key] for key in ("task", "events", "estimator")}
    assert ask("POST", f"{v1}/replay", json={"spec": spec}).status_code == 200
    token = ask("POST", f"{PREFIX}/tokens", json={"name": "every", "role": "viewer"}).json()["id"]
    assert ask("DELETE", f"{PREFIX}/tokens/{token}").status_code == 204
    tag = ask("GET", v1).headers["etag"]
    assert ask("GET", v1, headers={"If-None-Match": tag}).status_code == 304
    for path in ("/ping", "/healthz", "/readyz", "/metrics"):
        assert ask("GET", path, None).status_code in {200, 503}


def every_refusal(driver: Driver, api: Api) -> None:
    """Each status of the specification that refuses comes from a cause of its own, as a problem."""
    ask, v1, ours = driver.ask, f"{PREFIX}/models/phishing", "/models/phishing/invocations"
    causes = {
        400: lambda: ask("POST", ours, content=b"{", headers={"Content-Type": JSON}),
        401: lambda: ask("POST", ours, None, json=X),
        403: lambda: ask("POST", "/models/phishing/events", "viewer", json=X),
        404: lambda: ask("GET", f"{PREFIX}/models/ghost"),
        406: lambda: ask("POST", ours, json=X, headers={"Accept": "image/png"}),
        409: lambda: ask("POST", "/invocations", json=X),
        413: lambda: ask("POST", ours, content=b'{"a": "' + b"a" * LARGE + b'"}', headers={"Content-Type": JSON}),
        415: lambda: ask("POST", ours, content=b"x", headers={"Content-Type": "image/png"}),
        422: lambda: ask("POST", ours, json={"long_url": 1e300}),
        503: lambda: ask("POST", "/models/late/invocations", json=X),
    }
    for status, cause in causes.items():
        answer = cause()
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
        assert answer.json()["status"] == status
    for body, status in ((b'{"reason": "\xff"}', 400), (b"[" * 90_000, 400), (b"{", 422)):
        found = ask("POST", f"{v1}/freeze", content=body, headers={"Content-Type": JSON})
        assert (found.status_code, found.headers["content-type"]) == (status, PROBLEM), found.text
    assert ask("POST", f"{v1}/dead-letters/1/replay").status_code == 409


def a_damaged_state_is_told(driver: Driver, api: Api) -> None:
    """A version whose bytes were altered is a 500 that names the command which looks at all of them."""
    number = driver.ask("POST", f"{PREFIX}/models/other/snapshot", json={}).json()["outcome"].removeprefix("version ")
    with api.deployment.app() as app:
        version = next(one for one in app.registry.history.versions("other") if f"{one.number}" == number)
        with app.registry.database.write_transaction() as connection:
            where = artifacts.c.digest == version.digest
            connection.execute(update(artifacts).where(where).values(content=b"altered"))
    found = driver.ask("GET", f"{PREFIX}/models/other/diff?one=1&other={number}")
    assert (found.status_code, found.json()["help"]) == (500, "headrace registry verify")


def a_client_that_stops_sending_is_told(driver: Driver, api: Api) -> None:
    """408 when its body does not come."""
    with socket.create_connection(("127.0.0.1", api.served.port), timeout=60) as client:
        head = (
            f"POST /models/phishing/invocations HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {api.tokens['viewer']}\r\n"
        )
        client.sendall(f"{head}Content-Type: {JSON}\r\nContent-Length: 100\r\n\r\n".encode() + b"{")
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert PROBLEM.encode() in answer
    driver.seen["predictOfModel", JSON, 408, PROBLEM] += 1


def a_token_that_asks_too_often_is_told(driver: Driver, api: Api) -> None:
    """429 with the time to wait, once its second's share is used up."""
    with api.client("viewer-of-other") as client:
        answers = (client.get(f"{PREFIX}/me") for _ in range(1000))
        refused = next(one for one in answers if one.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    driver.note(refused)


def test_nothing_that_is_specified_was_left_out(api: Api) -> None:
    """What a client is answered is every operation, every type of body, and every status of the specification.

    One test, since tests of a module may be divided among processes.
    """
    driver = Driver(api)
    for part in (
        predictions_in_every_form,
        ingestion_in_every_form,
        every_operation_of_the_admin_api,
        every_refusal,
        a_damaged_state_is_told,
        a_client_that_stops_sending_is_told,
        a_token_that_asks_too_often_is_told,
    ):
        part(driver, api)
    require_all_seen(driver)


def require_all_seen(driver: Driver) -> None:
    """But for acts that need what this deployment has not, and probes whose answer depends on the moment."""
    seen = driver.seen
    operations = [one for item in driver.specification["paths"].values() for one in item.values()]
    names = {one["operationId"] for one in operations}
    late = {"deleteModel", "showReport", "promoteChallenger", "replayDeadLetter"}
    done = {operation for operation, _, status, _ in seen if status < 400}
    assert names - done <= late | {"readiness"}, names - done - late
    assert names == {operation for operation, _, _, _ in seen} | (late & names)
    statuses = {int(status) for one in operations for status in one["responses"]}
    assert statuses - {status for _, _, status, _ in seen} <= {201, 202}
    sent = {kind for one in operations for kind in one.get("requestBody", {}).get("content", {})}
    assert sent <= {kind for _, kind, _, _ in seen}
    got = {kind for one in operations for answer in one["responses"].values() for kind in answer.get("content", {})}
    assert got - {kind for _, _, _, kind in seen} <= {"text/markdown", "text/html"}
