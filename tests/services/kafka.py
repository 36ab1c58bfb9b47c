"""Apache Kafka from its Maven artifacts: one node, KRaft, loopback."""

import os
import shutil
import signal
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT
from tests.services.process import Server, free_port

JARS = ROOT / ".cache" / "kafka" / "libs"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=500
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
"""

QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
"""A broker of tests lives for a short time: what its virtual machine would win by compiling better comes too late."""


def why_not() -> str | None:
    """Why no broker can be started here; None when one can."""
    if shutil.which("java") is None:
        return "java is not installed"
    return None if (JARS.parent / "fetched").exists() else "the broker's jars are missing; run `make kafka`"


@dataclass(frozen=True)
class Shared:
    """A broker that other processes use, too, and that this one must not stop."""

    port: int

    @property
    def bootstrap(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"


class Broker:
    """One broker; it keeps its port and its data when it is stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        properties = folder / "server.properties"
        text = PROPERTIES.format(port=self.port, controller=free_port(), data=folder / "data")
        properties.write_text(text, encoding="utf-8")
        classes = ["-cp", f"{JARS}/*"]
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        java = shutil.which("java") or "java"
        subprocess.run(
            [
                java,
                *QUICK,
                *classes,
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster}",
                "-c",
                str(properties),
            ],
            check=True,
            capture_output=True,
            env={**os.environ},
        )
        command = [java, *QUICK, "-Xmx512m", *classes, "kafka.Kafka", str(properties)]
        self._server = Server(command, folder, self._answers)

    def start(self) -> None:
        """Start, and wait until topics can be listed."""
        self._server.start()

    def stop(self) -> None:
        """Shut down in order."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._server.stop(signal.SIGKILL)

    def _answers(self) -> bool:
        from kafka import KafkaAdminClient  # noqa: PLC0415 - only where a broker is used
        from kafka.errors import KafkaError  # noqa: PLC0415 - as above

        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            with closing(KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=3000)) as admin:
                admin.list_topics()
        except KafkaError:
            return False
        return True
