"""A Kafka of a test's own that takes only clients with TLS and a password: SASL_SSL with SCRAM-SHA-512.

It is one broker with its own controller. Its certificate is its own authority, made by Java's keytool for 127.0.0.1.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connectors.kafka_clients import client_config
from settings import KafkaSettings
from tests.support.waiting import eventually
from tools.stack import Stack
from tools.stack.machine.ports import HOST, free_ports
from tools.stack.parts import KAFKA_CLUSTER_ID, kafka_java

USER = "views"
ANSWER_S = 5.0
# Of a server's key, in a file that the test's user alone sees; no client knows it.
STORE_PASSWORD = "changeit"


@contextmanager
def secured_kafka(stack: Stack, folder: Path, password: str) -> Iterator[KafkaSettings]:
    """The settings of clients of a secured broker, which runs until the context ends.

    `folder` is the broker's. `folder`/secrets has what clients need, and the password lies there alone.
    """
    secrets = folder / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    write_secret(secrets / "password", password)
    make_certificate(folder / "broker.p12", secrets / "ca.pem")
    ports = free_ports(("secured", "internal", "controller"))
    properties = folder / "broker.properties"
    properties.write_text(_properties(stack, folder, ports), encoding="utf-8")
    java, environment = kafka_java(stack.layout, heap_mib=256), stack.shared_environment()
    with (folder / "broker.log").open("ab") as log:
        _format(java, environment, folder, password)
        process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], env=environment, stdout=log, stderr=log)
    kafka = KafkaSettings(
        bootstrap_servers=f"{HOST}:{ports['secured']}",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        username=USER,
        password_file=str(secrets / "password"),
        ca_file=str(secrets / "ca.pem"),
    )
    try:
        assert eventually(lambda: _answers(kafka)), (folder / "broker.log").read_text()
        yield kafka
    finally:
        process.kill()
        process.wait()


def write_secret(path: Path, secret: str) -> None:
    """Write a file that its owner alone may read."""
    path.touch(mode=0o600)
    path.write_text(secret, encoding="utf-8")


def _answers(kafka: KafkaSettings) -> bool:
    try:
        AdminClient(client_config(kafka)).list_topics(timeout=ANSWER_S)
    except KafkaException:
        return False
    return True


def make_certificate(store: Path, certificate: Path) -> None:
    """Make a key and its certificate in a PKCS#12 `store`, and the certificate alone in PEM. Needs nothing but Java."""
    keystore = ("-keystore", str(store), "-storetype", "PKCS12", "-storepass", STORE_PASSWORD, "-alias", "broker")
    name = ("-dname", "CN=broker", "-ext", f"san=ip:{HOST}", "-validity", "2", "-keyalg", "EC")
    subprocess.run(["keytool", "-genkeypair", *keystore, *name], check=True, capture_output=True)
    subprocess.run(
        ["keytool", "-exportcert", "-rfc", *keystore, "-file", str(certificate)], check=True, capture_output=True
    )


def _properties(stack: Stack, folder: Path, ports: dict[str, int]) -> str:
    secured, internal = f"SASL_SSL://{HOST}:{ports['secured']}", f"INTERNAL://{HOST}:{ports['internal']}"
    lines = (stack.layout.conf / "kafka.properties").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line) | {
        "listeners": f"{secured},{internal},CONTROLLER://{HOST}:{ports['controller']}",
        "advertised.listeners": f"{secured},{internal}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.quorum.voters": f"1@{HOST}:{ports['controller']}",
        "log.dirs": str(folder / "data"),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": str(folder / "broker.p12"),
        "ssl.keystore.password": STORE_PASSWORD,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _format(java: list[str], environment: dict[str, str], folder: Path, password: str) -> None:
    """Format the data folder, with the user. The arguments are in a file, since others see those of a command."""
    arguments = folder / "secrets" / "format"
    user = f"SCRAM-SHA-512=[name={USER},password={password}]"
    words = ("format", "--cluster-id", KAFKA_CLUSTER_ID, "--config", str(folder / "broker.properties"))
    arguments.write_text("\n".join((*words, "--add-scram", user)) + "\n", encoding="utf-8")
    done = subprocess.run(
        [*java, "kafka.tools.StorageTool", f"@{arguments}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    arguments.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
