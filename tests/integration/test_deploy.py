"""The image is small, locked, of nobody's rights, and starts the program."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.config import LearnerSettings
from service.serving.edge.health import health_server
from tests.services.process import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("runtime", "image", "dev")}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in their order, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions by stage; the last one becomes the image."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def last(word: str) -> str:
    """What the image's stage says last of something."""
    return next(rest for one, rest in reversed(stages()[-1]) if one == word)


def copied() -> list[Path]:
    """What is copied from the repository."""
    lines = [shlex.split(rest) for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    return [Path(source) for words in lines for source in words[:-1]]


def pins(name: str) -> dict[str, str]:
    """The releases that a lock file names."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", LOCKS[name].read_text(encoding="utf-8"), re.MULTILINE))


def test_the_image_runs_as_nobody_in_particular() -> None:
    """The last user is a number other than root's, so that a cluster can prove it."""
    user, group = last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    made = " ".join(rest for word, rest in stages()[-1] if word == "RUN")
    assert f"--uid {user} " in made
    assert f"--gid {group} " in made


def test_the_image_starts_the_program() -> None:
    """The entry point is the command that the distribution installs, and the folder of state is the user's home."""
    entry = json.loads(last("ENTRYPOINT"))
    assert f'\n{entry[0]} = "service.' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"--home-dir {last('WORKDIR')} --create-home" in " ".join(rest for word, rest in stages()[-1])
    assert "PYTHONUNBUFFERED=1" in last("ENV")


def test_the_image_is_slim_and_has_no_compiler() -> None:
    """Its base is slim and of a named release, and nothing is installed into it but what the build stage made."""
    assert len(stages()) > 1
    for word, rest in instructions():
        if word == "FROM":
            assert re.match(r"python:3\.\d+-slim-\w+( AS \w+)?$", rest)
        assert not re.search(r"\bapt|gcc|build-essential", rest)
    assert not any("pip" in rest for word, rest in stages()[-1] if word == "RUN")


def test_the_image_installs_only_what_is_locked() -> None:
    """Every installation demands hashes, or reads nothing but the wheel that was built from this repository."""
    commands = [part for word, rest in instructions() if word == "RUN" for part in rest.split("&&")]
    installing = [part for part in commands if re.search(r"pip (install|wheel)", part)]
    assert len(installing) == 4
    for part in installing:
        assert "--require-hashes --only-binary :all:" in part or "--no-deps" in part, part


def test_the_image_is_built_from_what_is_sent_to_the_builder(tmp_path: Path) -> None:
    """What is copied exists, is not ignored, and is enough to build the wheel."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for source in copied():
        assert f"!{source.parts[0]}" in ignored, f"{source} is not sent to the builder"
        place = tmp_path / source
        place.parent.mkdir(parents=True, exist_ok=True)
        whole = ROOT / source
        shutil.copytree(whole, place) if whole.is_dir() else shutil.copy(whole, place)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def healthcheck(port: int) -> int:
    """The exit code of the image's own check."""
    command = json.loads(last("HEALTHCHECK").split("CMD", 1)[1])
    assert command[0] == "python"
    environment = {**os.environ, "HEADRACE_LEARNER__PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(
        [sys.executable, *command[1:]], env=environment, capture_output=True, timeout=120, check=False
    ).returncode


def test_the_healthcheck_tells_the_living_from_the_dead() -> None:
    """It is 0 while the learner answers, even when it is not ready, and something else when it does not."""
    address = ("127.0.0.1", 0)
    with health_server(address, registry=CollectorRegistry(), not_ready=lambda: ["the broker is away"]) as port:
        assert healthcheck(port) == 0
    assert healthcheck(free_port()) == 1
    assert f"'HEADRACE_LEARNER__PORT', '{LearnerSettings().port}'" in last("HEALTHCHECK")


def test_the_image_has_the_releases_that_were_tested() -> None:
    """Its lock is the runtime's and the extras', release for release what the tests run with, all with hashes."""
    runtime, image, dev = pins("runtime"), pins("image"), pins("dev")
    assert runtime.items() <= image.items() <= dev.items()
    assert {"confluent-kafka", "s3fs"} <= set(image)
    for path in LOCKS.values():
        text = path.read_text(encoding="utf-8")
        blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text
