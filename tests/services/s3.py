"""An S3 server in this process, which a test may stop and start without losing objects."""

import socket
import uuid
from collections.abc import Mapping

import boto3
from moto.server import ThreadedMotoServer


class ObjectStore:
    """moto's server on a free loopback port, with a bucket for who asks."""

    def __init__(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self._server: ThreadedMotoServer | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client must have in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Answer."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Refuse connections; what is stored stays."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def bucket(self) -> str:
        """A new one; the environment must be this store's."""
        name = f"archive-{uuid.uuid4().hex[:8]}"
        boto3.client("s3").create_bucket(Bucket=name)
        return name
