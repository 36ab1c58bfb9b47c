"""Writes rows that several repositories need, within their transactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, delete, func, insert, select, update

from service.domain.registry.registry import (
    AuditEntry,
    ChangeOrigin,
    CommandKind,
    CommandStatus,
    DeadLetter,
    Json,
    LineageId,
    LineageRole,
    SealedState,
    Version,
    VersionNumber,
)
from service.domain.stream.position import OffsetRange
from service.errors import RefusedError
from service.storage.schema.registry import (
    aliases,
    artifacts,
    audit,
    checkpoints,
    commands,
    dead_letters,
    lineages,
    models,
    versions,
)
from service.storage.transactions import rows
from service.storage.transactions.champion_feed import notify_watchers

# Larger artifacts are files: forests have many megabytes each second, too much for the database.
MAX_INLINE_BYTES = 256 * 1024


def upsert_artifact(connection: Connection, digest: str, data: bytes, *, now: datetime) -> None:
    """Write the artifact's row, with the bytes if they are few.

    An existing row gets good bytes and a new age, so that retention does not take it for an orphan.
    """
    content = data if len(data) <= MAX_INLINE_BYTES else None
    values = {"size": len(data), "content": content, "created_at": now}
    known = connection.execute(update(artifacts).where(artifacts.c.digest == digest).values(values))
    if known.rowcount == 0:
        connection.execute(insert(artifacts).values(digest=digest, **values))


def insert_checkpoint(
    connection: Connection, lineage: LineageId, sequence: int, *, state: SealedState, now: datetime
) -> int:
    """Insert a checkpoint with its artifact, and return its key."""
    upsert_artifact(connection, state.digest, state.artifact, now=now)
    notify_watchers(connection)
    done = connection.execute(
        insert(checkpoints).values(
            lineage=lineage,
            sequence=sequence,
            digest=state.digest,
            size=len(state.artifact),
            position=state.position.to_json(),
            learned=state.learned,
            metrics=state.metrics.to_json(),
            created_at=now,
        )
    )
    return new_id(done)


def new_id(done: CursorResult[Any]) -> int:
    """Return the key that the database has given to an inserted row."""
    key = done.inserted_primary_key
    if key is None:
        msg = "found no key of an inserted row"
        raise RuntimeError(msg)
    return int(key[0])


def insert_audit_entry(connection: Connection, written: AuditEntry, *, now: datetime) -> None:
    """Insert an audit entry."""
    connection.execute(
        insert(audit).values(
            model=written.model,
            at=now,
            actor=written.actor,
            action=written.action,
            reason=written.reason,
            from_version=written.from_version,
            to_version=written.to_version,
            evidence=written.evidence,
        )
    )


def finish_command(connection: Connection, origin: ChangeOrigin, outcome: str, *, now: datetime) -> None:
    """Mark the command that asked for this change as done."""
    if origin.command is not None:
        connection.execute(
            update(commands)
            .where(commands.c.id == origin.command, commands.c.status == CommandStatus.PENDING)
            .values(status=CommandStatus.DONE, settled_at=now, outcome=outcome)
        )


def insert_version(connection: Connection, values: dict[str, Any], *, now: datetime) -> VersionNumber:
    """Insert the model's next version and return its number."""
    model = values["model"]
    newest = connection.execute(select(func.max(versions.c.number)).where(versions.c.model == model)).scalar()
    number = VersionNumber((newest or 0) + 1)
    connection.execute(insert(versions).values(**values, number=number, created_at=now))
    return number


def read_version(connection: Connection, model: str, number: int) -> Version:
    """Return a version that exists."""
    where = (versions.c.model == model, versions.c.number == number)
    return rows.version_from_row(connection.execute(select(versions).where(*where)).one())


def newest_version_number(connection: Connection, lineage: LineageId) -> VersionNumber:
    """Return the number of the latest version made of a lineage."""
    statement = select(versions.c.number).where(versions.c.lineage == lineage)
    return VersionNumber(connection.execute(statement.order_by(versions.c.number.desc()).limit(1)).scalar_one())


def set_champion(connection: Connection, model: str, old_and_new: tuple[LineageId, LineageId]) -> None:
    """Replace the old champion by the new one; raise RefusedError when the old one is no longer champion.

    Retires other replays of the model, and ends a freeze that was for one of them.
    """
    old, new = old_and_new
    notify_watchers(connection)
    is_champion = (models.c.name == model, models.c.champion == old)
    done = connection.execute(update(models).where(*is_champion).values(champion=new))
    if done.rowcount != 1:
        msg = f"found another champion of {model} than lineage {old}; see `headrace model history {model}`"
        raise RefusedError(msg)
    replaying = (lineages.c.model == model, lineages.c.role == LineageRole.REPLAYING, lineages.c.id != new)
    given_up = connection.execute(select(lineages.c.plan).where(*replaying)).scalars().all()
    connection.execute(update(lineages).where(lineages.c.id == old).values(role=LineageRole.RETIRED))
    connection.execute(update(lineages).where(*replaying).values(role=LineageRole.RETIRED))
    if any(plan.get("freeze") for plan in given_up):
        connection.execute(update(models).where(models.c.name == model).values(frozen=False))


def insert_command(
    connection: Connection, model: str, kind: CommandKind, *, arguments: Json, actor: str, now: datetime
) -> int:
    """Insert a pending command and return its number."""
    values = {
        "model": model,
        "kind": kind,
        "arguments": arguments,
        "status": CommandStatus.PENDING,
        "requested_by": actor,
        "requested_at": now,
        "outcome": "",
    }
    return new_id(connection.execute(insert(commands).values(**values)))


def set_spec(connection: Connection, model: str, *, spec: Json, digest: str) -> None:
    """Set the model's specification from the file; the present champion may have been made from another one."""
    connection.execute(update(models).where(models.c.name == model).values(spec=spec, spec_digest=digest))


def set_alias(connection: Connection, model: str, name: str, *, version: int) -> None:
    """Point the alias to this version from now on."""
    connection.execute(delete(aliases).where(aliases.c.model == model, aliases.c.alias == name))
    connection.execute(insert(aliases).values(model=model, alias=name, version=version))


def insert_dead_letters(
    connection: Connection, model: str, found: Sequence[DeadLetter], *, limit: int, now: datetime
) -> None:
    """Insert each dead letter once, and delete the oldest beyond `limit`."""
    for dead_letter in found:
        where = (
            dead_letters.c.model == model,
            dead_letters.c.topic == dead_letter.at.topic,
            dead_letters.c.partition == dead_letter.at.partition,
            dead_letters.c.position == dead_letter.offset,
        )
        if connection.execute(select(dead_letters.c.id).where(*where)).first() is None:
            connection.execute(insert(dead_letters).values(**_dead_letter_columns(model, dead_letter), created_at=now))
    if found:
        newest = select(dead_letters.c.id).where(dead_letters.c.model == model)
        newest_dropped = connection.execute(newest.order_by(dead_letters.c.id.desc()).offset(limit).limit(1)).scalar()
        if newest_dropped is not None:
            connection.execute(
                delete(dead_letters).where(dead_letters.c.model == model, dead_letters.c.id <= newest_dropped)
            )


def range_rows(runs: Sequence[OffsetRange]) -> list[list[Any]]:
    """Return the union of learned ranges as sorted rows of topic, partition, first and end offset."""
    found: list[list[Any]] = []
    for run in sorted(runs, key=lambda one: (one.topic, one.partition, one.first)):
        top = found[-1] if found else None
        if top and top[:2] == [run.topic, run.partition] and run.first <= top[3]:
            top[3] = max(top[3], run.last)
        else:
            found.append([run.topic, run.partition, run.first, run.last])
    return found


def _dead_letter_columns(model: str, dead_letter: DeadLetter) -> dict[str, Any]:
    return {
        "model": model,
        "topic": dead_letter.at.topic,
        "partition": dead_letter.at.partition,
        "position": dead_letter.offset,
        "reason": dead_letter.reason,
        "detail": dead_letter.detail[:2000].replace("\x00", " "),  # PostgreSQL's text holds no NUL
        "payload": dead_letter.payload,
        "size": dead_letter.size,
    }
