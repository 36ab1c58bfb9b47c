"""Other servers for a river model, each installed from the package registry into a virtual environment of its own."""

import importlib.metadata
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import free_port

CACHE = Path(".cache/rivals")
LONGEST_START_S = 120.0
MLFLOW_SAVES = """
import pickle
import sys
from pathlib import Path
import mlflow.pyfunc

class Served(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.model = pickle.loads(Path(context.artifacts["model"]).read_bytes())

    def predict(self, context, model_input, params=None):
        return [self.model.predict_proba_one(x) for x in model_input.to_dict(orient="records")]

mlflow.pyfunc.save_model(sys.argv[2], python_model=Served(), artifacts={"model": sys.argv[1]}, pip_requirements=[])
"""
BENTO_SERVES = """
import pickle
from pathlib import Path
import bentoml

@bentoml.service(workers=1)
class Served:
    def __init__(self):
        self.model = pickle.loads(Path("model.pickle").read_bytes())

    @bentoml.api
    def predict(self, x: dict) -> dict:
        return {str(label): share for label, share in self.model.predict_proba_one(x).items()}
"""


@dataclass(frozen=True, slots=True)
class Rival:
    """A distribution, and the address at which its server answers."""

    package: str
    path: str
    health: str

    @property
    def folder(self) -> Path:
        """Return its virtual environment."""
        return CACHE.resolve() / self.package

    def program(self, name: str) -> str:
        """Return the path of a program in its environment."""
        return str(self.folder / "bin" / name)

    def install(self) -> None:
        """Install it with the release of river that is installed here, so that both read one pickle."""
        if not Path(self.program("python")).exists():
            river = f"river=={importlib.metadata.version('river')}"
            subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
            subprocess.run([self.program("pip"), "install", "--quiet", self.package, river], check=True)

    @property
    def version(self) -> str:
        """Return the release that was installed."""
        asks = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        command = [self.program("python"), "-c", asks, self.package]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


MLFLOW = Rival("mlflow", path="/invocations", health="/ping")
BENTOML = Rival("bentoml", path="/predict", health="/livez")


@contextmanager
def mlflow_server(folder: Path, model: Path) -> Iterator[int]:
    """Run MLflow's model server over a pyfunc model with one worker, and yield its port."""
    script, saved = folder / "saves.py", folder / "saved"
    script.write_text(MLFLOW_SAVES, encoding="utf-8")
    subprocess.run([MLFLOW.program("python"), str(script), str(model), str(saved)], check=True, capture_output=True)
    port = free_port()
    served = ["models", "serve", "--model-uri", str(saved), "--env-manager", "local"]
    command = [MLFLOW.program("mlflow"), *served, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with _running(MLFLOW, command, folder, port):
        yield port


@contextmanager
def bentoml_server(folder: Path, model: Path) -> Iterator[int]:
    """Run BentoML's server over a service with one worker, and yield its port."""
    (folder / "served.py").write_text(BENTO_SERVES, encoding="utf-8")
    (folder / "model.pickle").write_bytes(model.read_bytes())
    port = free_port()
    command = [BENTOML.program("bentoml"), "serve", "served:Served", "--host", "127.0.0.1", "--port", str(port)]
    with _running(BENTOML, command, folder, port):
        yield port


@contextmanager
def _running(rival: Rival, command: Sequence[str], folder: Path, port: int) -> Iterator[None]:
    """Run the server for the block; its environment's programs come first on the path."""
    log = folder / f"{rival.package}.log"
    environment = {"PATH": f"{rival.folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder)}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "true", "NO_COLOR": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        _wait(f"http://127.0.0.1:{port}{rival.health}", process, log)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + LONGEST_START_S
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > until:
            msg = f"the server does not answer at {url}: {log.read_text(errors='replace')[-3000:]}"
            raise RuntimeError(msg)
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
