"""Compare the same request against MLflow's model server and BentoML."""

import pickle
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from river import datasets

from benchmarks.claims import Claim, of_medians
from benchmarks.load import Request, load
from benchmarks.rival_servers import BENTOML, MLFLOW, Rival, bentoml_server, mlflow_server
from benchmarks.served import Served, headrace_server

CONNECTIONS = 8
Wrapped = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Serve = Callable[[Path, Path], AbstractContextManager[int]]
RIVALS: Mapping[str, tuple[Rival, Serve, Wrapped]] = {
    "MLflow": (MLFLOW, mlflow_server, lambda x: {"dataframe_records": [x]}),
    "BentoML": (BENTOML, bentoml_server, lambda x: {"x": x}),
}


def measure(served: Served, *, rounds: int, seconds: float) -> list[Claim]:
    """Measure one server after the other, each in turn with Headrace."""
    return [_claim(name, served, rounds, seconds) for name in RIVALS]


def _claim(name: str, served: Served, rounds: int, seconds: float) -> Claim:
    rival, serve, wrapped = RIVALS[name]
    rival.install()
    x, _ = next(iter(datasets.Phishing()))
    with TemporaryDirectory() as folder, headrace_server(served) as ours:
        pickled = Path(folder) / "river.pickle"
        pickled.write_bytes(pickle.dumps(served.servable.river))
        with serve(Path(folder), pickled) as theirs:
            asked = Request(theirs, rival.path, msgspec.json.encode(wrapped(x)))
            pairs = [(_rate(served.request(ours), seconds), _rate(asked, seconds)) for _ in range(rounds)]
    told = ", ".join(f"{median(side):,.0f}" for side in zip(*pairs, strict=True))
    return of_medians(
        f"requests a second / {name} {rival.version}",
        [mine / other for mine, other in pairs],
        at_least=8.0,
        note=f"one worker, {CONNECTIONS} connections; requests a second, ours and theirs: {told}",
    )


def _rate(request: Request, seconds: float) -> float:
    return load(request, connections=CONNECTIONS, seconds=seconds).rate
