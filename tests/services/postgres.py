"""PostgreSQL on its own data directory and a free loopback port."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
from psycopg import sql

from tests.services.process import Server, free_port

INIT = ("-U", "headrace", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`, newest version first; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    if found:
        return found[0].parent
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None


def why_not() -> str | None:
    """Why no server can be started here; None when one can."""
    return None if programs() else "PostgreSQL is not installed"


class Databases:
    """Fresh databases of the server on this port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def database(self) -> str:
        """A fresh database's address."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://headrace@127.0.0.1:{self.port}/{name}"

    def _address(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=headrace dbname={database} connect_timeout=2"


class Postgres(Databases):
    """One server; it keeps its port and data when it is stopped and started again."""

    def __init__(self) -> None:
        folder = programs()
        if folder is None:
            msg = "PostgreSQL is not installed"
            raise RuntimeError(msg)
        self._user = "postgres" if os.geteuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="headrace-pg-", dir="/tmp"))
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._home, owner.pw_uid, owner.pw_gid)
        super().__init__(free_port())
        data = self._home / "data"
        subprocess.run(
            [folder / "initdb", *INIT, "-D", data],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self._home,
        )
        command = [
            *(str(folder / "postgres"), "-D", str(data), "-p", str(self.port), "-k", str(self._home)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
            *("-c", "fsync=off", "-c", "full_page_writes=off"),  # no test takes the power away
        ]
        self._server = Server(command, self._home, self._answers, user=self._user, orphaned=signal.SIGQUIT)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._server.start()

    def stop(self) -> None:
        """Shut down without waiting for clients."""
        self._server.stop(signal.SIGINT)

    def remove(self) -> None:
        """Delete its data."""
        shutil.rmtree(self._home, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self._address("postgres")):
                return True
        except psycopg.OperationalError:
            return False
