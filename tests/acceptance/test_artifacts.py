"""What was altered, is unsigned, or names what is not allowed is never opened, and costs no event."""

import hashlib
import hmac
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from service.bootstrap import App
from service.domain.registry.registry import Checkpoint
from service.domain.stream.position import merge_ranges
from service.storage.checkpoints.signing import MAGIC, Signer, load_key
from service.storage.schema.all_tables import metadata
from service.storage.schema.registry import artifacts, checkpoints
from tests.acceptance.harness import PHISHING, Deployment, State, phishing_events

EVENTS = 9000
OFTEN = {**PHISHING, "checkpoint": {"every": "1h", "events": 2000, "max_share": 1}}
Forge = Callable[[App, Checkpoint], bytes]


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        """The call that pickle would make."""
        return __import__("os").system, (f"touch {self._marker}",)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A model that has learned the events, in several checkpoints."""
    deployment = Deployment(tmp_path_factory.mktemp("untouched"), OFTEN)
    deployment.publish(phishing_events(EVENTS))
    deployment.command("learn", "--until-end")
    return deployment


@pytest.fixture(scope="module")
def calm(untouched: Deployment) -> State:
    """What a learner makes of the events whose registry nobody touches."""
    return untouched.state()


@pytest.fixture
def learned(untouched: Deployment, tmp_path: Path) -> Deployment:
    """A copy of that model, to be tampered with."""
    shutil.copytree(untouched.folder, tmp_path / "headrace")
    return Deployment(tmp_path / "headrace", OFTEN)


def newest(app: App) -> Checkpoint:
    """The champion's newest checkpoint."""
    champion = app.registry.models.get("phishing").champion
    assert champion is not None
    return app.registry.checkpoints.newest_first(champion)[0]


def flip_a_byte(deployment: Deployment) -> str:
    """Alter the newest checkpoint's stored bytes; its name in `registry verify`."""
    with deployment.app() as app:
        checkpoint = newest(app)
        data = bytearray(app.registry.history.artifact(checkpoint.digest))
        data[len(data) // 2] ^= 1
        with app.registry.database.write_transaction() as connection:
            where = artifacts.c.digest == checkpoint.digest
            assert connection.execute(select(artifacts.c.content).where(where)).scalar_one() is not None
            connection.execute(update(artifacts).where(where).values(content=bytes(data)))
    return f"phishing checkpoint {checkpoint.sequence} of version 1"


def put_in_place(deployment: Deployment, forge: Forge) -> str:
    """Let the newest checkpoint name a forged artifact, under its right digest; its name in `registry verify`."""
    with deployment.app() as app:
        checkpoint = newest(app)
        data = forge(app, checkpoint)
        digest = hashlib.sha256(data).hexdigest()
        with app.registry.database.write_transaction() as connection:
            connection.execute(
                insert(artifacts).values(
                    digest=digest, size=len(data), content=data, created_at=app.registry.database.now(connection)
                )
            )
            connection.execute(update(checkpoints).where(checkpoints.c.id == checkpoint.id).values(digest=digest))
    return f"phishing checkpoint {checkpoint.sequence} of version 1"


def hostile_state(app: App, checkpoint: Checkpoint, marker: Path) -> bytes:
    """The checkpoint's state with an estimator that runs a command."""
    payload = app.registry.signer.open(app.registry.history.artifact(checkpoint.digest)).payload
    state = msgspec.msgpack.decode(payload)
    state["estimator"] = pickle.dumps(Attack(marker))
    return msgspec.msgpack.encode(state)


def require_as_calm(deployment: Deployment, calm: State) -> None:
    """Counts, metrics, predictions, position and order are those of a calm run."""
    found = deployment.state()
    assert found.counts == calm.counts == {"learned": EVENTS}
    assert found.report == calm.report
    assert found.probes == calm.probes
    assert found.position == calm.position
    assert merge_ranges(found.order) == merge_ranges(calm.order)


@pytest.mark.slow
def test_a_tampered_checkpoint(learned: Deployment, calm: State) -> None:
    """It is named by `registry verify`, the newest good one is used, and the events since are learned again."""
    name = flip_a_byte(learned)
    verified = learned.command("registry", "verify", "--json", check=False)
    assert verified.returncode == 1
    bad = [finding for finding in msgspec.json.decode(verified.stdout) if finding["problem"]]
    assert [finding["name"] for finding in bad] == [name]
    assert "altered" in bad[0]["problem"]
    done = learned.command("learn", "--until-end")
    assert "checkpoint_unreadable" in done.stderr
    require_as_calm(learned, calm)
    learned.command("registry", "verify")
    with learned.app() as app:
        entry = app.registry.history.audit("phishing")[-1]
    assert (entry.action, entry.actor) == ("fall_back", "learner")
    assert "cannot be read" in entry.reason
    aside = rows(learned)["set_aside_checkpoints"]
    assert [one.sequence for one in aside] == [int(name.split()[2])]


def unsigned(marker: Path) -> Forge:
    """The bare state, without a seal."""
    return lambda app, checkpoint: hostile_state(app, checkpoint, marker)


def of_another_key(marker: Path) -> Forge:
    """Sealed, but not by this deployment."""

    def forge(app: App, checkpoint: Checkpoint) -> bytes:
        state = hostile_state(app, checkpoint, marker)
        return Signer(b"o" * 32).seal(state, model="phishing", lineage="1", position=checkpoint.position)

    return forge


def correctly_sealed(marker: Path) -> Forge:
    """Sealed with the deployment's own key."""

    def forge(app: App, checkpoint: Checkpoint) -> bytes:
        state = hostile_state(app, checkpoint, marker)
        return app.registry.signer.seal(state, model="phishing", lineage="1", position=checkpoint.position)

    return forge


@pytest.mark.slow
@pytest.mark.parametrize(("forged", "says"), [(unsigned, "without a signature"), (of_another_key, "another key")])
def test_a_forged_checkpoint(
    learned: Deployment, calm: State, tmp_path: Path, forged: Callable[[Path], Forge], says: str
) -> None:
    """It is refused with what to do, nothing of it runs, and the learner goes on from the one before."""
    marker = tmp_path / "ran"
    name = put_in_place(learned, forged(marker))
    verified = learned.command("registry", "verify", check=False)
    assert verified.returncode == 1
    assert name in verified.stdout
    done = learned.command("learn", "--until-end")
    assert says in done.stderr
    assert "headrace registry verify" in done.stderr
    assert not marker.exists()
    require_as_calm(learned, calm)


def of_a_later_format(_marker: Path) -> Forge:
    """Sealed with the deployment's own key, with a number that this release does not know."""

    def forge(app: App, checkpoint: Checkpoint) -> bytes:
        body = msgspec.msgpack.encode({"format": 99})
        whole = len(body).to_bytes(4, "big") + body + b"in a way of its own"
        return MAGIC + hmac.digest(load_key(app.settings.storage.key_file), whole, "sha256") + whole

    return forge


def of_a_later_state(_marker: Path) -> Forge:
    """Sealed as it should be, but the state in it has a format that this release does not know."""

    def forge(app: App, checkpoint: Checkpoint) -> bytes:
        state = msgspec.msgpack.encode({"format": 99})
        return app.registry.signer.seal(state, model="phishing", lineage="1", position=checkpoint.position)

    return forge


def rows(deployment: Deployment) -> dict[str, list[Any]]:
    """All rows of the registry but those that tell of starts and leases."""
    with deployment.app() as app, app.registry.database.read_transaction() as connection:
        kept = [table for table in metadata.sorted_tables if table.name not in {"leases", "lineages"}]
        return {table.name: list(connection.execute(select(table)).all()) for table in kept}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forged", "says"),
    [
        (correctly_sealed, "posix.system"),
        (of_a_later_format, "format 99"),
        (of_a_later_state, "state format 99"),
    ],
)
def test_a_checkpoint_of_another_release(
    learned: Deployment, calm: State, tmp_path: Path, forged: Callable[[Path], Forge], says: str
) -> None:
    """What is sealed well and cannot be opened is refused with exit 3, runs nothing, and no row is given up for it."""
    whole = rows(learned)
    with learned.app() as app:
        digest = newest(app).digest
    marker = tmp_path / "ran"
    put_in_place(learned, forged(marker))
    before = rows(learned)
    for _ in range(2):
        done = learned.command("learn", "--until-end", check=False)
        assert done.returncode == 3, done.stderr
        assert says in done.stderr
        assert "headrace registry verify" in done.stderr
    assert learned.command("registry", "verify", check=False).returncode == 1
    assert not marker.exists()
    assert rows(learned) == before
    with learned.app() as app, app.registry.database.write_transaction() as connection:
        connection.execute(update(checkpoints).where(checkpoints.c.id == newest(app).id).values(digest=digest))
    assert rows(learned)["checkpoints"] == whole["checkpoints"]
    learned.command("learn", "--until-end")
    require_as_calm(learned, calm)


def test_the_attack_is_one(tmp_path: Path) -> None:
    """The command of the forged states runs where pickles are trusted."""
    pickle.loads(pickle.dumps(Attack(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_no_checkpoint_is_left(learned: Deployment) -> None:
    """Where every checkpoint is bad the learner ends with what to do, and overwrites nothing."""
    with learned.app() as app, app.registry.database.write_transaction() as connection:
        connection.execute(update(artifacts).values(content=b"gone"))
    done = learned.command("learn", "--until-end", check=False)
    assert done.returncode == 1
    assert "headrace registry verify" in done.stderr
    assert "--fresh" in done.stderr
    with learned.app() as app:
        assert newest(app).learned == EVENTS
