"""What the registry's ports promise of models, leases and dead letters, over SQLite and over PostgreSQL."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.domain.registry.registry import CommandKind, LineageRole, VersionKind
from service.domain.stream.events import RefusalReason
from service.domain.stream.position import Position
from service.errors import LeaseHeldError, LeaseLostError, NotFoundError, RefusedError
from service.storage.registry import Registry
from service.storage.transactions.holder import Holder
from tests.contract.registry_values import (
    AT,
    NAME,
    commit,
    count,
    founded,
    founding,
    leased,
    letter,
    snapshot,
    succession,
    totals,
)


class TestModels:
    """Registered models."""

    def test_registering(self, registry: Registry) -> None:
        """A new model has a version, a champion, a checkpoint and a line in the audit."""
        model = registry.models.register(founding())
        assert (model.name, model.spec, model.spec_digest, model.frozen) == (NAME, {"name": NAME}, "spec-1", False)
        (lineage,) = registry.history.lineages(NAME)
        assert (lineage.id, lineage.role, lineage.origin) == (model.champion, LineageRole.CHAMPION, 1)
        (version,) = registry.history.versions(NAME)
        assert (version.number, version.kind, version.parent) == (1, VersionKind.INITIAL, None)
        assert (version.created_by, version.reason, version.environment) == ("ann", "begun", {"river": "0.26.1"})
        (checkpoint,) = registry.checkpoints.newest_first(lineage.id)
        assert (checkpoint.sequence, checkpoint.position) == (0, Position({AT: 0}))
        assert registry.history.artifact(checkpoint.digest) == b"first"
        (entry,) = registry.history.audit(NAME)
        assert (entry.actor, entry.action, entry.reason, entry.to_version) == ("ann", "register", "begun", 1)
        assert entry.at is not None
        assert abs(datetime.now(UTC) - entry.at) < timedelta(minutes=1)

    def test_a_name_is_taken_once(self, registry: Registry) -> None:
        """The second model of a name is refused, and leaves nothing behind."""
        founded(registry)
        before = totals(registry)
        with pytest.raises(RefusedError, match="headrace model show phishing"):
            registry.models.register(founding(data=b"other"))
        assert totals(registry) == before

    def test_listing_and_finding(self, registry: Registry) -> None:
        """Models come by name, and an unknown name is told those there are."""
        with pytest.raises(NotFoundError, match="none"):
            registry.models.get("nobody")
        founded(registry, "zebra")
        founded(registry, "ant")
        assert [model.name for model in registry.models.list()] == ["ant", "zebra"]
        with pytest.raises(NotFoundError, match="ant, zebra"):
            registry.models.get("nobody")

    def test_deleting(self, registry: Registry) -> None:
        """A deleted model leaves only its audit, which says who deleted it and why; others stay."""
        lineage = founded(registry)
        other = founded(registry, "other")
        lease = registry.leases.acquire(lineage, holder="here", ttl_s=60)
        registry.checkpoints.commit(commit(lease, dead_letters=[letter(3)]))
        registry.commands.request(NAME, CommandKind.FREEZE, arguments={}, actor="ann")
        registry.leases.release(lease)
        registry.models.delete(NAME, actor="bob", reason="unused")
        assert [model.name for model in registry.models.list()] == ["other"]
        assert registry.checkpoints.newest_first(lineage) == []
        assert registry.leases.find(lineage) is None
        assert len(registry.checkpoints.newest_first(other)) == 1
        assert (count(registry, "commands"), count(registry, "dead_letters")) == (0, 0)
        entry = registry.history.audit(NAME)[-1]
        assert (entry.actor, entry.action, entry.reason) == ("bob", "delete", "unused")

    def test_deleting_while_it_is_written(self, registry: Registry) -> None:
        """A model with a living writer is not deleted."""
        leased(registry, holder=str(Holder.current()))
        with pytest.raises(LeaseHeldError, match="stop the learner"):
            registry.models.delete(NAME, actor="bob", reason="")
        assert registry.models.get(NAME).name == NAME

    def test_deleting_after_its_writer_died(self, registry: Registry) -> None:
        """A lease of a process that died here keeps nobody from deleting."""
        leased(registry, holder=str(dead_holder()))
        registry.models.delete(NAME, actor="bob", reason="")
        assert registry.models.list() == []


def dead_holder() -> Holder:
    """Return the holder of a process on this host that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        child.communicate(b"\n")
    return replace(Holder.current(nonce="other"), pid=child.pid, start_time=started)


class TestFindingOne:
    """Finding a lineage, a version or a checkpoint by number or as the newest."""

    def test_what_there_is(self, registry: Registry) -> None:
        """Each one found is the one in the whole list, and the newest is the last."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1))
        registry.changes.snapshot(snapshot(lease))
        _, after = registry.changes.install_successor(succession(lease))
        history = registry.history
        assert [history.lineage(NAME, one.id) for one in history.lineages(NAME)] == list(history.lineages(NAME))
        assert [history.version(NAME, one.number) for one in history.versions(NAME)] == list(history.versions(NAME))
        assert [history.newest_version(NAME, at).number for at in (lease.lineage, after.lineage)] == [2, 3]
        for lineage in (lease.lineage, after.lineage):
            assert registry.checkpoints.newest(lineage) == registry.checkpoints.newest_first(lineage)[0]

    def test_what_there_is_not(self, registry: Registry) -> None:
        """A number that no lineage or version of the model has is refused with the existing ones."""
        lineage, other = founded(registry), founded(registry, "other", data=b"other")
        history = registry.history
        with pytest.raises(NotFoundError, match=r"found no version 9 of phishing, expected one of 1; .*model history"):
            history.version(NAME, 9)
        with pytest.raises(NotFoundError, match=r"found no version 1 of nobody, which has none; .*model list"):
            history.version("nobody", 1)
        with pytest.raises(NotFoundError, match=rf"found no lineage {other} of phishing; .*model history"):
            history.lineage(NAME, other)
        with pytest.raises(NotFoundError, match=f"found no version of lineage {other} of phishing, expected one of 1"):
            history.newest_version(NAME, other)
        assert registry.checkpoints.newest(lineage) is not None

    def test_a_model_that_was_deleted_meanwhile(self, registry: Registry) -> None:
        """A model deleted meanwhile has no newest checkpoint, which is no error."""
        lineage = founded(registry)
        registry.models.delete(NAME, actor="ann", reason="no longer wanted")
        assert registry.checkpoints.newest(lineage) is None
        with pytest.raises(NotFoundError):
            registry.history.lineage(NAME, lineage)


class TestLeases:
    """Leases to write."""

    def test_the_epoch_rises(self, registry: Registry) -> None:
        """Each acquisition has a higher epoch; the holder itself gets its lease again at once."""
        lineage = founded(registry)
        assert registry.leases.find(lineage) is None
        first = registry.leases.acquire(lineage, holder="here", ttl_s=60)
        second = registry.leases.acquire(lineage, holder="here", ttl_s=60)
        assert (first.epoch, second.epoch) == (1, 2)
        assert registry.leases.find(lineage) == second

    def test_a_held_lease_names_its_holder(self, registry: Registry) -> None:
        """The refusal names the holder and the time of expiry."""
        lease = leased(registry, holder="there", ttl_s=60)
        with pytest.raises(LeaseHeldError) as refused:
            registry.leases.acquire(lease.lineage, holder="here", ttl_s=60)
        assert "there" in str(refused.value)
        assert f"{lease.expires_at.astimezone(UTC):%H:%M:%S}" in str(refused.value)
        assert "--wait-for-lease" in str(refused.value)
        assert registry.leases.find(lease.lineage) == lease

    def test_an_expired_lease_is_free(self, registry: Registry) -> None:
        """After its time anyone may take it, and the old holder has lost it."""
        lease = leased(registry, holder="there", ttl_s=600)
        with pytest.raises(LeaseHeldError):
            registry.leases.acquire(lease.lineage, holder="here", ttl_s=60)
        lease = registry.leases.renew(lease, ttl_s=0.05)
        time.sleep(0.1)
        assert registry.leases.acquire(lease.lineage, holder="here", ttl_s=60).epoch == 2
        with pytest.raises(LeaseLostError):
            registry.leases.renew(lease, ttl_s=60)

    def test_expiry_goes_by_the_registry(self, registry: Registry) -> None:
        """The time of expiry is the registry's clock plus the time to live."""
        with registry.database.read_transaction() as connection:
            now = registry.database.now(connection)
        lease = leased(registry, ttl_s=100)
        assert timedelta(seconds=99) < lease.expires_at - now < timedelta(seconds=102)

    def test_a_dead_process_is_succeeded_at_once(self, registry: Registry) -> None:
        """The lease of a dead process on this host is taken over at once."""
        lease = leased(registry, holder=str(dead_holder()), ttl_s=600)
        assert registry.leases.acquire(lease.lineage, holder=str(Holder.current()), ttl_s=60).epoch == 2

    def test_a_living_process_and_another_host_are_not(self, registry: Registry) -> None:
        """A process that lives, or that cannot be seen from here, keeps its lease."""
        here = Holder.current()
        for holder in (replace(here, pid=os.getpid(), nonce="x"), replace(dead_holder(), host="elsewhere")):
            lineage = founded(registry, f"m-{holder.host}")
            registry.leases.acquire(lineage, holder=str(holder), ttl_s=60)
            with pytest.raises(LeaseHeldError):
                registry.leases.acquire(lineage, holder=str(Holder.current()), ttl_s=60)

    def test_siblings_under_one_supervisor(self, registry: Registry) -> None:
        """A restarted child takes over from its predecessor at once."""
        here = Holder.current(nonce="family")
        lease = leased(registry, holder=str(here), ttl_s=600)
        assert registry.leases.acquire(lease.lineage, holder=str(replace(here, pid=1)), ttl_s=60).epoch == 2

    def test_renewing(self, registry: Registry) -> None:
        """Renewal moves the expiry and keeps the epoch."""
        lease = leased(registry, ttl_s=5)
        renewed = registry.leases.renew(lease, ttl_s=500)
        assert renewed.epoch == lease.epoch
        assert renewed.expires_at > lease.expires_at + timedelta(seconds=400)
        assert registry.leases.find(lease.lineage) == renewed

    def test_releasing(self, registry: Registry) -> None:
        """A released lease is free; releasing a lost one takes nothing from its new holder."""
        lease = leased(registry, holder="there")
        registry.leases.release(lease)
        taken = registry.leases.acquire(lease.lineage, holder="here", ttl_s=60)
        registry.leases.release(lease)
        assert registry.leases.find(lease.lineage) == taken

    def test_many_at_once(self, open_one: Callable[[], Registry]) -> None:
        """Of several that acquire a free lease at once, one gets it."""
        registries = [open_one() for _ in range(4)]
        lineage = founded(registries[0])

        def reach(at: int) -> bool:
            try:
                registries[at].leases.acquire(lineage, holder=f"h{at}", ttl_s=60)
            except LeaseHeldError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(reach, range(4))) == 1


class TestDeadLetters:
    """Dead letters."""

    def test_each_is_kept_once(self, registry: Registry) -> None:
        """An event that is refused again after a replay is one dead letter."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1, dead_letters=[letter(1), letter(2)]))
        registry.checkpoints.commit(commit(lease, 2, dead_letters=[letter(2), letter(3)]))
        assert [one.offset for one in registry.dead_letters.list(NAME, limit=9)] == [3, 2, 1]

    def test_they_are_bounded(self, registry: Registry) -> None:
        """Past the limit the oldest go; other models keep theirs."""
        lease = leased(registry)
        other = registry.leases.acquire(founded(registry, "other"), holder="here", ttl_s=60)
        registry.checkpoints.commit(commit(other, dead_letters=[letter(n) for n in range(3)]))
        for sequence in (1, 2):
            letters = [letter(sequence * 10 + n) for n in range(4)]
            registry.checkpoints.commit(commit(lease, sequence, dead_letters=letters, max_dead_letters=5))
        assert [one.offset for one in registry.dead_letters.list(NAME, limit=99)] == [23, 22, 21, 20, 13]
        assert len(registry.dead_letters.list("other", limit=99)) == 3

    def test_reading(self, registry: Registry) -> None:
        """They are listed by reason, counted, shown, and not found in another model."""
        lease = leased(registry)
        mixed = [
            letter(1),
            letter(2, RefusalReason.MAGNITUDE),
            replace(letter(3), detail="a\x00b", payload=b"\x00\xff"),
        ]
        registry.checkpoints.commit(commit(lease, dead_letters=mixed))
        assert registry.dead_letters.counts(NAME) == {RefusalReason.NOT_JSON: 2, RefusalReason.MAGNITUDE: 1}
        assert registry.dead_letters.counts("other") == {}
        (one,) = registry.dead_letters.list(NAME, limit=9, reason=RefusalReason.MAGNITUDE)
        assert registry.dead_letters.get(NAME, one.id) == one
        newest = registry.dead_letters.list(NAME, limit=1)[0]
        assert (newest.payload, newest.detail, newest.replayed_at) == (b"\x00\xff", "a b", None)
        with pytest.raises(NotFoundError, match="headrace deadletter list"):
            registry.dead_letters.get("other", one.id)

    def test_replayed_ones_are_marked(self, registry: Registry) -> None:
        """A commit marks those that it has learned again."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1, dead_letters=[letter(1), letter(2)]))
        newest, oldest = registry.dead_letters.list(NAME, limit=9)
        registry.checkpoints.commit(commit(lease, 2, replayed=[oldest.id]))
        assert registry.dead_letters.get(NAME, oldest.id).replayed_at is not None
        assert registry.dead_letters.get(NAME, newest.id).replayed_at is None
