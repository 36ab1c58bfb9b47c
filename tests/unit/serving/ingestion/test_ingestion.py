"""Events and labels over HTTP are appended all or none, and are durable before the response."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from service.bootstrap import App
from service.domain.registry.served_prediction import ServedEvent, encode_served_record
from service.domain.stream.events import ServedPrediction
from service.domain.stream.position import Position
from service.operations.inference import group_commit
from service.operations.inference.ingest import RecordIngestor
from service.serving.edge.auth import OpenAuthorizer
from service.serving.edge.problems import HANDLERS
from service.serving.ingestion import routes as ingestion
from service.stream.log.source import LogSink
from tests.acceptance.harness import PHISHING, Deployment, wait_until

LINES = {"Content-Type": "application/x-ndjson"}
EVENT = {"id": "a", "x": {"n": 1.5}}


@dataclass
class Told:
    """Telemetry that keeps the counts of ingested records."""

    outcomes: list[tuple[str, str, str, int]] = field(default_factory=list)

    def records_ingested(self, model: str, kind: str, *, outcome: str, count: int) -> None:
        """Keep the count."""
        self.outcomes.append((model, kind, outcome, count))


@dataclass
class Edge:
    """Both ingestion routes over a real log."""

    app: App
    ingest: RecordIngestor
    told: Told
    timeout_s: float = 60.0

    def post(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """Return the response to one request."""
        return self.posts([(path, content, headers)])[0]

    def posts(self, requests: Sequence[tuple[str, bytes, dict[str, str] | None]]) -> list[httpx.Response]:
        """Return the responses to requests that are sent at once."""
        return asyncio.run(self._posts(requests))

    async def _posts(self, requests: Sequence[tuple[str, bytes, dict[str, str] | None]]) -> list[httpx.Response]:
        routes = ingestion.ingestion_routes(self.ingest, OpenAuthorizer(), self.told, timeout_s=self.timeout_s)
        app = Starlette(routes=routes, exception_handlers=dict(HANDLERS))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            default = {"Content-Type": "application/json"}
            asked = [
                client.post(f"/models/phishing/{path}", content=content, headers=headers or default)
                for path, content, headers in requests
            ]
            return list(await asyncio.gather(*asked))

    def stream(self, topic: str) -> list[bytes]:
        """Return all durable records of a topic."""
        source = self.app.source("looking")
        bounds = source.bounds([topic])
        source.assign(Position({at: one.start for at, one in bounds.items()}))
        found: list[bytes] = []
        while len(found) < sum(one.end - one.start for one in bounds.values()):
            found += [value for run in source.poll(timeout_s=1, limit=1000) for value in run.values]
        source.close()
        return found


@contextmanager
def edge(folder: Path, **changes: Any) -> Iterator[Edge]:
    """Yield the routes with a model of its own."""
    with Deployment(folder, model={**PHISHING, **changes}).app() as app:
        ingest = RecordIngestor(app.services, app.settings.models)
        try:
            yield Edge(app, ingest, Told())
        finally:
            ingest.close()


def test_every_form_of_body_is_the_same_records(tmp_path: Path) -> None:
    """One object, a list and JSON Lines give the same records, each byte as it was sent."""
    one, other = b'{"id":  1, "x": {"n": 1.50}}', b'{"x":{"n":2},"id":"\\u00e9"}'
    with edge(tmp_path) as found:
        answers = [
            found.post("events", one),
            found.post("events", b"[" + one + b", \n" + other + b"]"),
            found.post("events", one + b"\r\n\n" + other + b"\n", LINES),
        ]
        assert [(answer.status_code, answer.json()) for answer in answers] == [
            (202, {"accepted": 1}),
            (202, {"accepted": 2}),
            (202, {"accepted": 2}),
        ]
        assert found.stream("phishing.events") == [one, one, other, one, other]
        assert found.told.outcomes == [("phishing", "events", "accepted", n) for n in (1, 2, 2)]


def test_one_that_the_decoder_refuses_refuses_all_and_says_which_and_why(tmp_path: Path) -> None:
    """One refused record refuses the request, which names each one's index, part, feature and reason."""
    bad = [EVENT, {"id": "b", "x": {"n": [1]}}, {"x": {"n": 1}}, {"id": "c", "x": {"n": 1}, "y": "false"}]
    with edge(tmp_path) as found:
        answer = found.post("events", json.dumps(bad).encode())
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert "3 of 4 records" in told["detail"]
        assert "nothing of this request was appended" in told["detail"]
        assert [(one["index"], one["reason"], one["part"], one.get("feature")) for one in told["errors"]] == [
            (1, "non_scalar_feature", "x", "n"),
            (2, "missing_id", "id", None),
            (3, "bad_label", "y", None),
        ]
        assert found.post("events", json.dumps(EVENT).encode()).status_code == 202
        assert len(found.stream("phishing.events")) == 1
        assert found.told.outcomes[0] == ("phishing", "events", "refused", 4)


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "detail"),
    [
        ("events", b"", None, 422, "no records"),
        ("events", b"[]", None, 422, "no records"),
        ("events", b"[{]", None, 400, "no JSON"),
        ("events", b"{", None, 422, "not_json"),
        ("events", b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        ("events", b"[" + b"1," * 10_000 + b"1]", None, 422, "at most 10000"),
        ("labels", b'{"id":1,"y":true}', None, 404, "labels:"),
    ],
)
def test_what_is_no_such_body_is_told(
    tmp_path: Path, path: str, content: bytes, headers: dict[str, str] | None, status: int, detail: str
) -> None:
    """An invalid body is refused with a fitting status and what was expected."""
    with edge(tmp_path) as found:
        answer = found.post(path, content, headers)
        assert (answer.status_code, detail in answer.json()["detail"]) == (status, True)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An unknown model is refused with the names of the known ones."""
    with edge(tmp_path) as found:
        answer = found.post("../other/events", b"{}")
        assert answer.status_code == 404
        assert "phishing" in answer.json()["detail"]


def test_labels_go_to_their_topic_and_events_do_not(tmp_path: Path) -> None:
    """Each route appends to the topic of its own kind."""
    with edge(tmp_path, labels="phishing.labels") as found:
        assert found.post("labels", b'{"id":"a","y":true}').status_code == 202
        assert found.post("labels", json.dumps(EVENT).encode()).status_code == 422
        assert found.post("events", b'{"id":"a","y":true}').status_code == 422
        assert found.stream("phishing.labels") == [b'{"id":"a","y":true}']


def test_the_models_own_layout_is_what_is_sent(tmp_path: Path) -> None:
    """`fields` decides what is valid, and records are appended unchanged; CSV loses its header."""
    fields = {"id": "$.tx.id", "x": ["$.amount"]}
    with edge(tmp_path / "json", fields=fields) as found:
        assert found.post("events", b'{"tx":{"id":1},"amount":2}').status_code == 202
        answer = found.post("events", b'{"tx":{"id":1},"amount":"a","x":{}}\n{"amount":2}', LINES)
        assert [one["reason"] for one in answer.json()["errors"]] == ["missing_id"]
    with edge(tmp_path / "csv", fields={"format": "csv", "columns": ["id", "n", "y"]}) as found:
        sent = found.post("events", b"id,n,y\r\n1,2.5,true\n2,3,\n", {"Content-Type": "text/csv"})
        assert (sent.status_code, sent.json()) == (202, {"accepted": 2})
        assert found.stream("phishing.events") == [b"1,2.5,true", b"2,3,"]
        assert found.post("events", b"{}").status_code == 415


def test_nobody_but_a_server_writes_what_was_served(tmp_path: Path) -> None:
    """A client cannot append a forged served prediction."""
    forged = encode_served_record(
        ServedEvent("a", {"n": 1}), ServedPrediction("phishing", "1-1", 1, 1, True, [(True, 1.0)])
    )
    with edge(tmp_path, labels="phishing.labels", log_predictions=True) as found:
        answer = found.post("events", forged)
        assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (422, "bad_prediction")


def test_requests_at_once_share_an_append(tmp_path: Path) -> None:
    """A hundred concurrent requests take far fewer chunks of the log, and none is lost."""
    events = [msgspec.json.encode({"id": n, "x": {"n": n}}) for n in range(100)]
    with edge(tmp_path) as found:
        answers = found.posts([("events", event, None) for event in events])
        assert {answer.status_code for answer in answers} == {202}
        assert sorted(found.stream("phishing.events")) == sorted(events)


def test_too_much_at_once_is_told_when_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much at once gets 429 with Retry-After, and nothing of it is appended."""
    monkeypatch.setattr(group_commit, "MAX_QUEUED_RECORDS", 1)
    append = LogSink.append

    def slowly(*given: Any, **more: Any) -> None:
        wait_until(lambda: any(outcome == "overloaded" for _, _, outcome, _ in found.told.outcomes), timeout_s=60)
        append(*given, **more)

    event = msgspec.json.encode(EVENT)
    with edge(tmp_path) as found:
        found.timeout_s = 60.0
        monkeypatch.setattr(LogSink, "append", slowly)
        answers = found.posts([("events", event, None)] * 60)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert len(found.stream("phishing.events")) == 60 - len(refused)
        assert {outcome for _, _, outcome, _ in found.told.outcomes} == {"accepted", "overloaded"}


def test_a_stream_that_cannot_be_written_is_a_503_in_time(tmp_path: Path) -> None:
    """The response says in time that the same records may be sent again."""
    with edge(tmp_path) as found:
        found.timeout_s = 0.3
        found.post("events", msgspec.json.encode(EVENT))
        with closing(sqlite3.connect(tmp_path / "var" / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = found.post("events", msgspec.json.encode(EVENT))
            other.execute("ROLLBACK")
        assert answer.status_code == 503
        assert "send the same records again" in answer.json()["detail"]
        assert answer.headers["retry-after"]
