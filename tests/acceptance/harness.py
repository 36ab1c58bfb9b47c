"""A whole Headrace in a folder of its own: configuration, stream, learner processes, final state."""

import hashlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import yaml
from prometheus_client.parser import text_string_to_metric_families
from river import datasets

from service import config
from service.bootstrap import App, open_app
from service.bootstrap.streams import open_sink
from service.domain.registry.registry import Checkpoint, ModelName
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import OffsetRange, PositionJson
from service.learning.learner.learner import Learner
from service.storage.checkpoints.signing import create_key
from service.storage.schema import upgrade
from tests.budget import LEASE_TTL
from tests.services import commands
from tests.services.commands import Command

PHISHING: dict[str, Any] = {
    "name": "phishing",
    "task": "binary",
    "events": "phishing.events",
    "estimator": [
        "preprocessing.StandardScaler",
        {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.005}}}},
    ],
    "metrics": ["Accuracy", "F1", "ROCAUC"],
    "checkpoint": {"every": "100ms"},
}

QUICK_S = 5.0
"""What is promised for an orderly end."""
STARTED: "list[Command | subprocess.Popen[bytes]]" = []


@dataclass(frozen=True)
class State:
    """What must be equal however often the learner died."""

    counts: Mapping[str, int]
    report: Mapping[str, Any]
    probes: Sequence[Any]
    position: PositionJson
    order: Sequence[OffsetRange]


@dataclass
class Deployment:
    """One folder, one model, one stream."""

    folder: Path
    model: dict[str, Any] = field(default_factory=lambda: dict(PHISHING))
    registry_url: str | None = None
    kafka: Mapping[str, Any] | None = None
    others: Sequence[Mapping[str, Any]] = ()
    lease_ttl: str = LEASE_TTL
    archive: Mapping[str, Any] = field(default_factory=dict)
    archive_url: str = "var/archive"
    trainer: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)
    _watching: App | None = None

    def __post_init__(self) -> None:
        """Write the configuration and make the key and the registry."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure()
        settings = config.load_settings(self.folder / "headrace.yaml")
        create_key(settings.storage.key_file)
        self._make_registry(settings.storage.url)

    def _make_registry(self, url: str) -> None:
        """Copy SQLite's from one that was upgraded, which takes a fifth of the time; upgrade any other."""
        path = self.folder / "var" / "headrace.db"
        if self.registry_url is None and not path.exists():
            path.write_bytes(_upgraded())
        else:
            upgrade.upgrade_schema(url)

    def configure(self) -> None:
        """Write the configuration as the fields have it now."""
        stream: dict[str, Any] = {"kind": "log", "log": {"path": "var/log.db"}}
        if self.kafka is not None:
            stream = {"kind": "kafka", "kafka": dict(self.kafka)}
        settings = {
            "storage": {
                "url": self.registry_url or "sqlite:///var/headrace.db",
                "artifacts": "var/artifacts",
                "archive": self.archive_url,
                "key_file": "var/headrace.key",
            },
            "stream": stream,
            "learner": {"port": 0},
            "archive": {"port": 0, **self.archive},
            "trainer": {"port": 0, **self.trainer},
            "server": {"port": 0, **self.server},
            "lease": {"ttl": self.lease_ttl},
            "models": [self.model, *map(dict, self.others)],
        }
        (self.folder / "headrace.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    @contextmanager
    def app(self) -> Iterator[App]:
        """The object graph over this folder."""
        with open_app(config.load_settings(self.folder / "headrace.yaml")) as app:
            yield app

    def publish(
        self,
        values: Sequence[bytes],
        *,
        topic: str | None = None,
        partitions: int = 1,
        keys: Sequence[bytes] | None = None,
    ) -> None:
        """Append to the model's topic, or to another."""
        sink = open_sink(config.load_settings(self.folder / "headrace.yaml"))
        sink.create(topic or self.model["events"], partitions=partitions)
        sink.append(topic or self.model["events"], values, keys=keys)
        sink.close()

    def command(
        self, *arguments: str, check: bool = True, timeout_s: float = 300.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run the CLI to its end."""
        done = commands.run(*arguments, folder=self.folder, timeout_s=timeout_s)
        if check and done.returncode != 0:
            msg = f"{arguments} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
            raise AssertionError(msg)
        return done

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None, anew: bool = False
    ) -> "Command | subprocess.Popen[bytes]":
        """Run the CLI in the background, `anew` in an interpreter of its own; its output goes to a file in the folder."""
        with (self.folder / "learner.log").open("ab") as log:
            process = commands.start(
                *arguments, folder=self.folder, stdout=log, stderr=log, environment=environment, anew=anew
            )
        STARTED.append(process)
        return process

    def log(self) -> str:
        """What the background processes have printed."""
        return (self.folder / "learner.log").read_text(encoding="utf-8", errors="replace")

    def port(self, pid: int | None = None) -> int:
        """Where the learner answers, of that process or the newest; waits until it has said so."""
        pattern = re.compile(rf"learner_started +pid={pid or '[0-9]+'} +port=([0-9]+)")
        wait_until(lambda: pattern.search(self.log()))
        return int(pattern.findall(self.log())[-1])

    def newest(self) -> Checkpoint | None:
        """The champion's newest checkpoint; None before the model is registered."""
        registry = self._watched().registry
        known = {model.name: model for model in registry.models.list()}
        model = known.get(ModelName(self.model["name"]))
        if model is None or model.champion is None:
            return None
        return registry.checkpoints.newest_first(model.champion)[0]

    def learned(self) -> int:
        """How many events the newest checkpoint has learned."""
        newest = self.newest()
        return newest.learned if newest else 0

    def state(self) -> State:
        """The champion's newest checkpoint, opened."""
        with self.app() as app:
            model = app.registry.models.get(self.model["name"])
            assert model.champion is not None
            checkpoint = app.registry.checkpoints.newest_first(model.champion)[0]
            sealed = app.registry.history.artifact(checkpoint.digest)
            spec = ModelSpec.model_validate(model.spec)
            learner = Learner(spec, app.services.states.sealer.open(sealed).payload)
            order = [run for one in app.registry.checkpoints.journal(model.champion) for run in one.order]
            return State(
                counts=dict(+learner.counts),
                report=learner.report(),
                probes=predict_probes(learner),
                position=checkpoint.position.to_json(),
                order=order,
            )

    def _watched(self) -> App:
        """The object graph, opened once: what is asked twenty times a second must cost little."""
        if self._watching is None:
            self._watching = self._open.enter_context(self.app())
        return self._watching


@cache
def _upgraded() -> bytes:
    """An empty registry in SQLite, as migrations leave it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "headrace.db"
        upgrade.upgrade_schema(f"sqlite:///{path}")
        return path.read_bytes()


def predict_probes(learner: Learner) -> list[Any]:
    """Its predictions on a probe set."""
    return [learner.predict(x) for x, _ in _phishing()[:100]]


def phishing_events(count: int, *, first: int = 0, long_ids: bool = False) -> list[bytes]:
    """Events with distinct ids counted from `first`, from river's data set over and over."""
    rows = islice(cycle(_phishing()), first, first + count)
    numbered = enumerate(rows, start=first)
    return [msgspec.json.encode({"id": _id(i, long_ids=long_ids), "x": x, "y": y}) for i, (x, y) in numbered]


@cache
def _phishing() -> list[tuple[dict[str, Any], bool]]:
    return list(datasets.Phishing())


def _id(number: int, *, long_ids: bool) -> int | str:
    return hashlib.sha256(str(number).encode()).hexdigest() if long_ids else number


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and body of a route of the learner."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def not_ready(port: int) -> str:
    """Why the learner says it is not ready; empty when it is."""
    status, body = fetch(port, "/readyz")
    reasons = json.loads(body)["reasons"]
    assert (status == 503) == bool(reasons)
    return "; ".join(reasons)


def metric(port: int, name: str, **labels: str) -> float | None:
    """The sum of a metric's samples that have these labels; None where there is none."""
    found = [
        sample.value
        for family in text_string_to_metric_families(fetch(port, "/metrics")[1])
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None


def terminate(process: "Command | subprocess.Popen[bytes]", *, timeout_s: float = 120.0) -> int:
    """SIGTERM, and the exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=timeout_s)


def kill(process: "Command | subprocess.Popen[bytes]") -> None:
    """SIGKILL, and wait until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)


def wait_until(reached: Any, *, timeout_s: float = 300.0, every_s: float = 0.05) -> None:
    """Poll until `reached()`; the bound is for what never happens, and no measure of how quick it is."""
    end = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(every_s)


def fill(disk: Path) -> Path:
    """Leave no byte free; removing the returned file makes room again."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path
