"""TLS and SASL through both Kafka drivers, against a broker that requires them."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import ConfigurationError, HeadraceError
from service.stream.kafka.settings import KafkaSettings
from tests.contract.streams import DRIVERS, drain, values
from tests.services.kafka import Broker
from tests.services.process import free_port

PASSWORD = "s3cret-of-the-test"
SECURE = """
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_reader="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
"""
FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")


def certified(folder: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1, its key, and both in one file as the broker needs them."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both.pem").write_text(key.read_text() + certificate.read_text())
    return certificate


def secured(broker: Broker, folder: Path, keystore: Path) -> int:
    """Restart the broker with a SASL_SSL listener beside its plain one, and return the listener's port."""
    properties, port = folder / "server.properties", free_port()
    broker.stop()
    lines = properties.read_text().splitlines()
    controller = next(line for line in lines if line.startswith("controller.quorum.voters")).rpartition(":")[2]
    kept = [line for line in lines if not line.startswith(("listeners=", "advertised.listeners=", "listener.security"))]
    secure = SECURE.format(plain=broker.port, controller=controller, secure=port, password=PASSWORD, keystore=keystore)
    properties.write_text("\n".join(kept) + secure)
    broker.start()
    return port


@pytest.mark.slow
def test_tls_and_sasl_reach_a_broker_that_asks_for_them(private_broker: Broker, tmp_path: Path) -> None:
    """Both drivers read and append with certificate and password; a wrong password is a wrong setting."""
    certificate = certified(tmp_path)
    port = secured(private_broker, tmp_path / "kafka", tmp_path / "both.pem")
    settings = KafkaSettings(
        f"127.0.0.1:{port}",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="reader",
        sasl_password=PASSWORD,
        ssl_cafile=str(certificate),
    )
    for driver, (source_of, sink_of) in DRIVERS.items():
        sink, source = sink_of(settings), source_of(settings, "contract")
        sink.create(driver, partitions=1)
        sink.append(driver, [b"secret"])
        assert values(drain(source, [driver])) == [b"secret"]
        sink.close()
        source.close()
    for driver, (source_of, _) in DRIVERS.items():
        with pytest.raises(ConfigurationError, match="credentials") as caught:
            source_of(replace(settings, sasl_password="not-the-password"), "contract").bounds([driver])
        assert "not-the-password" not in str(caught.value)
        with pytest.raises(HeadraceError, match="SASL_SSL"):
            source_of(replace(settings, ssl_cafile=None), "contract").bounds([driver])


def test_settings_have_each_drivers_own_names(tmp_path: Path) -> None:
    """Every credential reaches either driver under the name it has there, and options pass through."""
    paths = {name: str(tmp_path / name) for name in FILES}
    for path in paths.values():
        Path(path).touch()
    settings = KafkaSettings("host:1", "SASL_SSL", "SCRAM-SHA-512", "me", PASSWORD, **paths, extra={"client.id": "x"})
    assert settings.for_librdkafka() == {
        "bootstrap.servers": "host:1",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": PASSWORD,
        "ssl.ca.location": paths["ssl_cafile"],
        "ssl.certificate.location": paths["ssl_certfile"],
        "ssl.key.location": paths["ssl_keyfile"],
        "client.id": "x",
    }
    assert settings.for_kafka_python() == {
        "bootstrap_servers": "host:1",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": PASSWORD,
        **paths,
        "client.id": "x",
    }
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in repr(KafkaSettings("host:1", extra={"sasl.password": PASSWORD}))


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"security_protocol": "TLS"}, "security_protocol: found TLS"),
        ({"security_protocol": "SASL_SSL"}, "sasl_mechanism: found None"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLANE"}, "sasl_mechanism: found PLANE"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "me"}, "sasl_password"),
        ({"security_protocol": "SSL", "ssl_cafile": "/no/such/file"}, "ssl_cafile: found /no/such/file"),
    ],
)
def test_wrong_security_settings_are_named(given: dict[str, str], key: str) -> None:
    """A setting that a driver would ignore, or answer with silence, is refused by its key."""
    with pytest.raises(ConfigurationError, match=key):
        KafkaSettings("127.0.0.1:1", **given)


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_an_unknown_option_is_named(driver: str) -> None:
    """An option that the driver does not know is a wrong setting, for source and sink."""
    source_of, sink_of = DRIVERS[driver]
    settings = KafkaSettings("127.0.0.1:1", extra={"no_such_option": 1})
    with pytest.raises(ConfigurationError, match="no_such_option"):
        source_of(settings, "contract").bounds(["events"])
    with pytest.raises(ConfigurationError, match="no_such_option"):
        sink_of(settings)
