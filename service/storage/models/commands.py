"""Commands that one process requests and another carries out."""

from collections.abc import Sequence

from sqlalchemy import select, update

from service.domain.registry.registry import Command, CommandKind, CommandStatus, Json
from service.errors import NotFoundError
from service.storage.database import Database
from service.storage.schema.registry import commands
from service.storage.transactions import rows, writes


class SqlCommands:
    """Implements `ports.registry.Commands`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, name: str, kind: CommandKind, *, arguments: Json, actor: str) -> Command:
        """Insert a pending command and return it."""
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            number = writes.insert_command(connection, name, kind, arguments=arguments, actor=actor, now=now)
        return self.get(number)

    def pending(self, name: str) -> Sequence[Command]:
        """Return the model's pending commands, oldest first."""
        statement = select(commands).where(commands.c.model == name, commands.c.status == CommandStatus.PENDING)
        with self._database.read_transaction() as connection:
            return [rows.command_from_row(found) for found in connection.execute(statement.order_by(commands.c.id))]

    def settle(self, command: int, *, status: CommandStatus, outcome: str) -> None:
        """Record the outcome of a pending command; a settled one stays as it is."""
        with self._database.write_transaction() as connection:
            connection.execute(
                update(commands)
                .where(commands.c.id == command, commands.c.status == CommandStatus.PENDING)
                .values(status=status, outcome=outcome, settled_at=self._database.now(connection))
            )

    def get(self, command: int) -> Command:
        """Return the command; raise NotFoundError when there is none."""
        with self._database.read_transaction() as connection:
            found = connection.execute(select(commands).where(commands.c.id == command)).one_or_none()
        if found is None:
            msg = f"found no command {command}"
            raise NotFoundError(msg)
        return rows.command_from_row(found)
