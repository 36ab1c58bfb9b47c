"""What may take minutes is answered over HTTP as the command line answers it, and holds nobody up."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.acceptance.admin_api import PREFIX, Api, shared_api
from tests.acceptance.harness import STARTED, Deployment, kill, terminate, wait_until
from tests.acceptance.processes import is_gone
from tests.acceptance.serving import start_server
from tests.acceptance.test_admin_api import problem
from tests.acceptance.test_drift import MODEL, events

CHECK = f"{PREFIX}/models/phishing/drift/check"
WHAT_IF = f"{PREFIX}/models/phishing/replay"
ENDLESS = {"calibrate": True, "events": 10_000_000, "target": 10_000_000}
"""Nobody waits for its end here."""
OTHER: dict[str, Any] = {
    "task": "binary",
    "events": "phishing.events",
    "estimator": [{"compose.Discard": ["where"]}, "preprocessing.StandardScaler", "naive_bayes.GaussianNB"],
    "metrics": ["Accuracy"],
}


@contextmanager
def served(folder: Path, **server: Any) -> Iterator[Api]:
    """A model with monitors that has learned, in two versions, and a server over it."""
    deployment = Deployment(folder, model=dict(MODEL), server=server)
    records = events()
    deployment.publish(records[:1000])
    deployment.command("learn", "--until-end")
    deployment.command("model", "snapshot", "phishing", "--as", "early")
    deployment.publish(records[1000:])
    deployment.command("learn", "--until-end")
    found = Api(deployment, start_server(deployment))
    STARTED.remove(found.served.process)
    try:
        yield found
    finally:
        kill(found.served.process)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that gives inquiries as much as it does by default."""
    with served(tmp_path_factory.mktemp("inquiries")) as found:
        yield found


def asked(api: Api, path: str, given: Mapping[str, Any]) -> httpx.Response:
    """Its answer, however long that takes."""
    with httpx.Client(base_url=f"http://127.0.0.1:{api.served.port}", timeout=300) as client:
        return client.post(path, content=json.dumps(given), headers={"Content-Type": "application/json"})


def patiently(api: Api, path: str, given: Mapping[str, Any]) -> httpx.Response:
    """Its answer, once the one before has left its place."""
    while (found := asked(api, path, given)).status_code == 429:
        time.sleep(0.05)
    return found


def answering(api: Api) -> list[int]:
    """The processes that answer: children of any thread of the server."""
    threads = Path(f"/proc/{api.served.process.pid}/task").glob("*/children")
    found = [int(pid) for one in threads for pid in one.read_text(encoding="ascii").split()]
    return [pid for pid in found if not is_gone(pid)]


@contextmanager
def at_work(api: Api) -> Iterator[tuple[int, "Callable[[], httpx.Response]"]]:
    """An inquiry that does not end by itself: the process that answers it, and what its client is told at last."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(patiently, api, CHECK, ENDLESS)
        wait_until(lambda: answering(api) or waiting.done())
        assert not waiting.done(), waiting.result().text
        yield answering(api)[0], waiting.result


@pytest.mark.slow
def test_drift_is_checked_as_by_the_command_line(api: Api) -> None:
    """The same figures, of the monitors as the file has them now; with their false alarms, too."""
    deployment = api.deployment
    given = {"history": 2000, "events": 4000, "target": 2000, "seed": 7}
    options = [part for name, value in given.items() for part in (f"--{name}", f"{value}")]
    try:
        deployment.model["drift"] = [{**one, "name": f"my-{one['name']}"} for one in MODEL["drift"]]
        deployment.configure()
        for more, flags in (({}, []), ({"calibrate": True}, ["--calibrate"])):
            told = json.loads(deployment.command("drift", "check", "phishing", *options, *flags, "--json").stdout)
            found = asked(api, CHECK, {**given, **more})
            assert (found.status_code, found.json()) == (200, told)
            assert {one["name"] for one in told["monitors"]} == {one["name"] for one in deployment.model["drift"]}
    finally:
        deployment.model["drift"] = MODEL["drift"]
        deployment.configure()


@pytest.mark.slow
def test_what_if_is_answered_as_by_the_command_line(api: Api, tmp_path: Path) -> None:
    """Over the whole history and over a part of it; the registry is as it was, and so is the audit."""
    before = [api.ask("GET", f"/models/phishing{path}", None).json() for path in ("", "/versions", "/audit")]
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump({"models": [{"name": "phishing", **OTHER}]}), encoding="utf-8")
    for part in ({}, {"from": "early"}, {"from": "1", "to": "early"}):
        ends = [text for name, value in part.items() for text in (f"--{name}", value)]
        told = json.loads(
            api.deployment.command("model", "replay", "phishing", "--spec", str(file), *ends, "--json").stdout
        )
        found = asked(api, WHAT_IF, {"spec": OTHER, **part})
        assert (found.status_code, found.json()) == (200, told)
    assert [api.ask("GET", f"/models/phishing{path}", None).json() for path in ("", "/versions", "/audit")] == before


@pytest.mark.slow
def test_what_is_refused_there_is_refused_here(api: Api, tmp_path: Path) -> None:
    """With the same sentence, as the problem that fits."""
    file = tmp_path / "other.yaml"
    cases: list[tuple[dict[str, Any], list[str], int]] = [
        ({}, ["--from", "early", "--to", "1"], 409),
        ({}, ["--from", "77"], 404),
        ({}, ["--from", "2001-01-31"], 404),
        ({"events": "elsewhere"}, [], 422),
    ]
    for change, ends, status in cases:
        spec = {**OTHER, **change}
        file.write_text(yaml.safe_dump({"models": [{"name": "phishing", **spec}]}), encoding="utf-8")
        told = api.deployment.command("model", "replay", "phishing", "--spec", str(file), *ends, check=False).stderr
        given = {one.removeprefix("--"): value for one, value in zip(ends[::2], ends[1::2], strict=True)}
        found = problem(asked(api, WHAT_IF, {"spec": spec, **given}), status)
        assert found["detail"] in told


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"task": "binary", "events": "phishing.events", "estimator": "linear_model.Nothing"}, "spec.estimator"),
        ({**OTHER, "metrics": ["Akkuracy"]}, "Akkuracy"),
        ({**OTHER, "factory": "os:getcwd", "estimator": None}, "expected an estimator"),
        ({**OTHER, "name": "other"}, "expected phishing"),
        ({**OTHER, "seed": "x", "raeson": 1}, "body.spec.raeson"),
        ({**OTHER, "fields": {"x": "a" * 100_000}}, "expected at most 100000"),
        ({**OTHER, "estimator": json.loads("[" * 900 + "]" * 900)}, "within each other"),
        ({**OTHER, "estimator": "\ud800"}, "expected Unicode"),
        ({}, "body.spec.task"),
    ],
)
def test_a_specification_that_cannot_be_is_a_problem(api: Api, spec: Mapping[str, Any], said: str) -> None:
    """Of a form that is none, with code that the file does not name, too long, or not to be built: told, with its place."""
    assert said in problem(asked(api, WHAT_IF, {"spec": spec}), 422)["detail"]


def test_a_factory_must_be_that_of_the_file(api: Api) -> None:
    """Then it is asked with other keys; another one is refused before its module is looked for."""
    deployment = api.deployment
    (deployment.folder / "homemade.py").write_text(
        "from river import dummy\n\n\ndef make():\n    return dummy.NoChangeClassifier()\n", encoding="utf-8"
    )
    spec = {**OTHER, "estimator": None, "factory": "homemade:make"}
    assert problem(asked(api, WHAT_IF, {"spec": spec}), 422)["detail"].startswith("found a factory")
    given = deployment.model["estimator"]
    try:
        deployment.model.update(estimator=None, factory="homemade:make")
        deployment.configure()
        assert asked(api, WHAT_IF, {"spec": spec, "to": "early"}).json()["other"]["n"] == 1000
        other = {**spec, "factory": "homemade:other"}
        assert problem(asked(api, WHAT_IF, {"spec": other}), 422)["detail"].startswith("found a factory")
    finally:
        del deployment.model["factory"]
        deployment.model["estimator"] = given
        deployment.configure()


@pytest.mark.slow
def test_it_holds_nobody_up_and_ends_with_its_client(api: Api) -> None:
    """One at a time, at low priority; others are answered meanwhile; who goes away is not computed for any more."""
    with socket.create_connection(("127.0.0.1", api.served.port), timeout=60) as client:
        body = json.dumps(ENDLESS).encode()
        head = (
            f"POST {CHECK} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        wait_until(lambda: answering(api))
        (left,) = answering(api)
    wait_until(lambda: is_gone(left))
    with at_work(api) as (pid, told):
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 19)
        full = asked(api, WHAT_IF, {"spec": OTHER})
        assert (problem(full, 429)["status"], full.headers["retry-after"]) == (429, "10")
        assert api.served.predict({"age": 1.0, "where": "a"}).status == 200
        assert api.ask("GET", "/models/phishing", None).status_code == 200
        os.kill(pid, signal.SIGKILL)
        assert "killed by signal 9" in problem(told(), 503)["detail"]
    assert patiently(api, WHAT_IF, {"spec": OTHER, "to": "early"}).status_code == 200


def test_an_answer_is_kept_by_its_key(api: Api) -> None:
    """It is computed once."""
    with httpx.Client(base_url=f"http://127.0.0.1:{api.served.port}", timeout=300) as client:
        given: Mapping[str, Any] = {"json": {"spec": OTHER, "to": "early"}, "headers": {"Idempotency-Key": "once"}}
        first, again = (client.post(WHAT_IF, **given) for _ in range(2))
    assert first.status_code == 200
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")


@pytest.mark.slow
def test_a_model_without_monitors_is_told(tmp_path: Path) -> None:
    """By the sentence of the command line, and without a process."""
    with shared_api(tmp_path) as api:
        found = problem(api.ask("POST", "/models/phishing/drift/check", "operator", json={}), 422)
        assert found["detail"] in api.deployment.command("drift", "check", "phishing", check=False).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"), [({"inquiry_timeout": "1s"}, "after 1 s"), ({"inquiry_memory": "1MB"}, "MB in use")]
)
def test_it_is_held_to_its_limits(tmp_path: Path, given: Mapping[str, Any], said: str) -> None:
    """Past the time or the memory that the server gives it, it is ended, and the client told what helps."""
    with served(tmp_path, **given) as api:
        found = problem(asked(api, CHECK, ENDLESS), 409)
        assert said in found["detail"]
        assert f"server.{next(iter(given))}" in found["detail"]
        wait_until(lambda: not answering(api))


@pytest.mark.slow
def test_it_ends_with_its_server(tmp_path: Path) -> None:
    """One that is told to stop tells its client so and ends at once; one that is killed leaves nothing at work."""
    with served(tmp_path / "told") as api, at_work(api) as (pid, told):
        assert terminate(api.served.process) == 0
        assert "about to stop" in problem(told(), 503)["detail"]
        assert is_gone(pid)
    with served(tmp_path / "killed") as api, at_work(api) as (pid, told):
        kill(api.served.process)
        wait_until(lambda: is_gone(pid))
        with pytest.raises(httpx.TransportError):
            told()
