"""docker-compose.yml is valid, and true of the program it starts."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry
from river import datasets

from service import config
from service.bootstrap import open_app
from service.cli.app import app
from service.config.sections import LOOPBACK
from service.domain.registry.registry import ModelName
from service.serving.edge.health import health_server
from tests.services import commands, kafka
from tests.services.presence import need
from tests.services.process import free_port

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text(encoding="utf-8")
COMPOSE: Mapping[str, Any] = yaml.safe_load(TEXT)
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
EXAMPLE = ROOT / "deploy" / "env.example"
CONFIGURATION = ROOT / "deploy" / "headrace.yaml"
HEADRACE = [name for name, one in SERVICES.items() if one["image"].startswith("headrace:") and "entrypoint" not in one]


def validated(path: Path) -> "subprocess.CompletedProcess[str]":
    """The compose specification's own schema, as check-jsonschema ships it; no network is used."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def parsed(words: list[str]) -> Any:
    """The context that the program makes of a command line, without running it."""
    command: Any = typer.main.get_command(app)
    name, rest = "headrace", list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"found no command {name} of {' '.join(words)}"
        command = command.commands[name]
    return command.make_context(name, rest)


def program_variables() -> Iterator[tuple[str, str, str]]:
    """Every variable of a Headrace container that the program reads."""
    for service in HEADRACE:
        for name, value in SERVICES[service]["environment"].items():
            if name.startswith(config.PREFIX):
                yield service, name, value


def mounts(service: str) -> dict[str, str]:
    """What is mounted in a service, by its place there."""
    found = [one.split(":") for one in SERVICES[service].get("volumes", ())]
    return {parts[1]: parts[0] for parts in found}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> config.Settings:
    """What the learner's container runs with."""
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in SERVICES["learner"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert mounts("learner")[os.environ["HEADRACE_CONFIG"]] == "./deploy/headrace.yaml"
    return config.load_settings(CONFIGURATION)


def test_the_file_fits_the_compose_schema() -> None:
    """The published schema of compose files accepts it."""
    found = validated(FILE)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_schema_refuses_a_wrong_file(tmp_path: Path) -> None:
    """The schema notices a key that compose does not know."""
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(TEXT.replace("  postgres:\n    image:", "  postgres:\n    picture:"), encoding="utf-8")
    assert validated(wrong).returncode == 1


@pytest.mark.parametrize("service", HEADRACE)
def test_commands_exist(service: str) -> None:
    """Every command, with its options and values, is one that the program accepts."""
    parsed(SERVICES[service]["command"])


@pytest.mark.parametrize("words", [["learn", "--for-ever"], ["stream", "publish", "m", "f", "--rate", "fast"]])
def test_wrong_commands_are_noticed(words: list[str]) -> None:
    """An option that does not exist and a value of the wrong type do not pass for good ones."""
    with pytest.raises(Exception, match=r"No such option|valid number"):
        parsed(words)


def test_every_role_and_step_is_there() -> None:
    """The key and the tables are made before the roles run, and all are commands of the program."""
    assert SERVICES["init"]["command"][0] == "init"
    for role, command in {"learner": "learn", "archiver": "archive", "trainer": "train", "server": "serve"}.items():
        assert SERVICES[role]["command"][0] == command
        assert SERVICES[role]["depends_on"]["init"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize(("service", "name", "value"), program_variables())
def test_variables_exist(service: str, name: str, value: str) -> None:
    """Every HEADRACE_ variable is read by the program: a reserved one, or a key of its settings."""
    if name in config.RESERVED - {"HEADRACE_FAILPOINT"}:
        return
    kind: Any = config.Settings
    for part in name.removeprefix(config.PREFIX).lower().split("__"):
        assert part in kind.model_fields, f"{service}: found no key for {name}"
        kind = kind.model_fields[part].annotation


def test_the_configuration_is_good(settings: config.Settings) -> None:
    """The mounted file passes with the variables of the containers, which it obeys."""
    environment = SERVICES["learner"]["environment"]
    assert settings.storage.url == environment["HEADRACE_STORAGE__URL"]
    assert settings.stream.kafka.bootstrap_servers == environment["HEADRACE_STREAM__KAFKA__BOOTSTRAP_SERVERS"]
    assert settings.log.format == environment["HEADRACE_LOG__FORMAT"]
    assert [model.name for model in settings.models] == ["phishing"]


def test_state_is_on_a_volume(settings: config.Settings) -> None:
    """Key and artifacts are in the one place of the container that outlives it and can be written."""
    for service in HEADRACE:
        assert SERVICES[service]["read_only"] is True
        assert mounts(service)["/var/lib/headrace"] == "headrace"
    assert Path(settings.storage.artifacts).is_relative_to("/var/lib/headrace")
    assert settings.storage.key_file.is_relative_to("/var/lib/headrace")


def test_mounts_exist() -> None:
    """Every file or folder that is mounted is in the repository, and every volume is declared."""
    for service in SERVICES:
        for source in mounts(service).values():
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{service}: found no {source}"
            else:
                assert source in COMPOSE["volumes"], f"{service}: found no volume {source}"
    used = {source for service in SERVICES for source in mounts(service).values()}
    assert set(COMPOSE["volumes"]) <= used


def test_services_wait_for_what_can_be_waited_for() -> None:
    """A service waits for the health of one that has a check, and for the end of one that ends."""
    for name, service in SERVICES.items():
        for other, wanted in service.get("depends_on", {}).items():
            target = SERVICES[other]
            check = target.get("healthcheck", {"disable": not target["image"].startswith("headrace:")})
            if wanted["condition"] == "service_healthy":
                assert not check.get("disable"), f"{name} waits for the health of {other}, which has no check"
            if wanted["condition"] == "service_completed_successfully":
                assert target["restart"] == "no", f"{name} waits for the end of {other}, which is restarted"


def test_only_loopback_is_published() -> None:
    """No port is open to other machines."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_prometheus_reaches_both_on_loopback(settings: config.Settings) -> None:
    """All share one network, and the addresses that are scraped are those where the roles answer."""
    assert {SERVICES[name]["network_mode"] for name in ("learner", "archiver", "trainer", "server", "prometheus")} == {
        "service:pod"
    }
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    targets = [one for job in scraped["scrape_configs"] for part in job["static_configs"] for one in part["targets"]]
    others = [f"{LOOPBACK[0]}:{port}" for port in (settings.archive.port, settings.trainer.port, settings.server.port)]
    assert targets == [f"{settings.learner.host}:{settings.learner.port}", *others]


def test_the_archiver_is_asked_for_its_own_health(settings: config.Settings) -> None:
    """Its check asks at its port, is 0 while something answers there, and something else when nothing does."""
    program = SERVICES["archiver"]["healthcheck"]["test"][3]
    assert program.count(f" {settings.archive.port},") == 1

    def asked(port: int) -> int:
        words = [sys.executable, "-c", program.replace(str(settings.archive.port), str(port))]
        return subprocess.run(words, capture_output=True, timeout=120, check=False).returncode

    with health_server((LOOPBACK[0], 0), registry=CollectorRegistry(), not_ready=lambda: ["the broker is away"]) as at:
        assert asked(at) == 0
    assert asked(free_port()) == 1


def test_the_archive_is_kept(settings: config.Settings) -> None:
    """It lies in a volume of its own, wherever the program runs, on a folder that the image's user owns."""
    assert settings.storage.archive is not None
    for service in HEADRACE:
        assert mounts(service)[settings.storage.archive] == "archive"
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert f"install --directory --owner headrace --group headrace {settings.storage.archive}\n" in image


def test_grafana_reaches_prometheus() -> None:
    """The data source is a name of the shared network, and the port is the one that is published of it."""
    provisioned = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )
    host, port = provisioned["datasources"][0]["url"].removeprefix("http://").split(":")
    assert host in SERVICES["pod"]["networks"]["default"]["aliases"]
    assert f"127.0.0.1:{port}:{port}" in SERVICES["pod"]["ports"]


def test_the_server_asks_for_tokens(settings: config.Settings) -> None:
    """It is bound beyond the loopback of its network, where the published port leads, and so never without tokens."""
    given = SERVICES["server"]["environment"]
    assert (given["HEADRACE_SERVER__HOST"], given["HEADRACE_SERVER__AUTH"]) == ("0.0.0.0", "tokens")
    assert {**SERVICES["learner"]["environment"], **given} == given
    assert f"127.0.0.1:{settings.server.port}:{settings.server.port}" in SERVICES["pod"]["ports"]


def listeners(name: str) -> dict[str, str]:
    """Kafka's listeners by their names."""
    return dict(one.split("://") for one in SERVICES["kafka"]["environment"][name].split(","))


def test_kafka_is_where_its_clients_look(settings: config.Settings) -> None:
    """Containers and the host are told addresses that lead to the broker."""
    advertised, bound = listeners("KAFKA_ADVERTISED_LISTENERS"), listeners("KAFKA_LISTENERS")
    assert advertised["PLAINTEXT"] == settings.stream.kafka.bootstrap_servers
    assert advertised["PLAINTEXT"] == f"kafka{bound['PLAINTEXT']}"
    assert SERVICES["kafka"]["ports"] == [f"{advertised['HOST']}{bound['HOST']}"]


def test_the_broker_accepts_its_settings(tmp_path: Path) -> None:
    """A real Kafka of this release reads the variables as its properties and formats its storage with them."""
    need(kafka.why_not())
    given = {key: str(value) for key, value in SERVICES["kafka"]["environment"].items()}
    assert SERVICES["kafka"]["image"].split(":")[1] in (ROOT / "tests/services/pom.xml").read_text(encoding="utf-8")
    lines = {key.removeprefix("KAFKA_").lower().replace("_", "."): value for key, value in given.items()}
    lines["log.dirs"] = str(tmp_path / "data")
    properties = tmp_path / "server.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()), encoding="utf-8")
    java = [shutil.which("java") or "java", "-cp", f"{kafka.JARS}/*", "kafka.tools.StorageTool"]
    done = subprocess.run(
        [*java, "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", str(properties)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "data" / "meta.properties").exists()


def test_topics_are_made(settings: config.Settings) -> None:
    """The broker makes none by itself, so each model's topic is made before the learner starts."""
    made = {one.removeprefix("--topic=") for one in SERVICES["topics"]["command"] if one.startswith("--topic=")}
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert made == {model.events for model in settings.models}
    assert SERVICES["learner"]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_what_is_published_exists(settings: config.Settings) -> None:
    """The demonstration sends a data set that river ships to a model that is configured."""
    given = parsed(SERVICES["publish"]["command"]).params
    assert given["model"] in {model.name for model in settings.models}
    assert hasattr(datasets, given["source"].removeprefix("river:"))


def test_no_secret_is_written_down() -> None:
    """Passwords come from the environment of whoever starts it; the example names them all and sets none."""
    example = dict(line.split("=", 1) for line in EXAMPLE.read_text("utf-8").splitlines() if "=" in line[:40])
    example = {key: value for key, value in example.items() if not key.startswith("#")}
    wanted = set(re.findall(r"\$\{(\w+)", TEXT)) | {one["environment"] for one in COMPOSE["secrets"].values()}
    assert example == dict.fromkeys(wanted, "")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert str(value).startswith(("/run/secrets/", "${")), name
                assert Path(str(value)).name in COMPOSE["secrets"] or str(value).startswith("${")
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    assert "/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_images_are_of_a_named_release() -> None:
    """Nothing changes by itself: every image has a tag, and the database is of the release that tests use."""
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", service["image"]), name
    assert SERVICES["postgres"]["image"].startswith("postgres:15")


def test_the_images_version_is_the_programs() -> None:
    """The image built here is tagged with the version that it holds."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert {SERVICES[name]["image"] for name in [*HEADRACE, "pod"]} == {f"headrace:{version[1]}"}


def run(service: str, folder: Path, *, drop: tuple[str, ...] = (), add: tuple[str, ...] = ()) -> str:
    """What a service's command prints, with the folder's configuration in the place of the mounted one."""
    words = [word for word in SERVICES[service]["command"] if word not in drop]
    variables = {
        "HEADRACE_CONFIG": str(folder / "headrace.yaml"),
        "HEADRACE_LEARNER__PORT": "0",
        "HEADRACE_ARCHIVE__PORT": "0",
    }
    done = commands.run(*words, *add, folder=folder, environment=variables, timeout_s=120)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_containers_commands_work_together(
    broker: kafka.Broker, postgres_url: str, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the containers, in their order, on a real broker and database, end in a model that learned what is archived."""
    text = CONFIGURATION.read_text(encoding="utf-8").replace("/var/lib/headrace", str(tmp_path))
    (tmp_path / "headrace.yaml").write_text(text.replace("phishing.events", topic), encoding="utf-8")
    monkeypatch.setenv("HEADRACE_STORAGE__URL", postgres_url)
    monkeypatch.setenv("HEADRACE_STREAM__KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
    run("init", tmp_path)
    run("init", tmp_path)
    run("publish", tmp_path, drop=("--rate", "200", "--repeat", "100"))
    run("learner", tmp_path, add=("--until-end",))
    run("archiver", tmp_path, add=("--until-end",))
    with open_app(config.load_settings(tmp_path / "headrace.yaml")) as found:
        champion = found.registry.models.get(ModelName("phishing")).champion
        assert champion is not None
        newest = found.registry.checkpoints.newest_first(champion)[0]
        (archived,) = found.registry.archives.list()
    assert newest.learned == archived.records == len(list(datasets.Phishing()))
    assert list((tmp_path / "archive" / topic / "0").glob("*.parquet"))
