"""`stream tail` on a real broker."""

from pathlib import Path

import pytest

from service.domain.stream.events import TopicPartition
from tests.acceptance.harness import PHISHING, Deployment
from tests.contract.streams import KafkaRig, rig_of
from tests.services.kafka import Broker


@pytest.mark.parametrize("driver", ["kafka-python", "librdkafka"])
def test_tail_ends_behind_offsets_without_records(tmp_path: Path, broker: Broker, topic: str, driver: str) -> None:
    """Where the newest offsets are markers of transactions, the tail shows the records there are and ends."""
    deployment = Deployment(
        tmp_path, {**PHISHING, "events": topic}, kafka={"bootstrap_servers": broker.bootstrap, "driver": driver}
    )
    deployment.publish([b"first", b"second"])
    rig = rig_of(driver, tmp_path, bootstrap=broker.bootstrap)
    assert isinstance(rig, KafkaRig)
    rig.gap(TopicPartition(topic, 0))
    rig.close()
    assert deployment.command("stream", "tail", PHISHING["name"]).stdout.splitlines()[:2] == ["0:0 first", "0:1 second"]
