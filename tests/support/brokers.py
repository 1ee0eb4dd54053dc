"""More brokers beside a stack's one, which stays the only controller."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.stack import Stack
from tools.stack.machine.ports import HOST
from tools.stack.parts import KAFKA_CLUSTER_ID, kafka_java


class Broker:
    """A broker of the stack's Kafka with a folder and a port of its own."""

    def __init__(self, stack: Stack, node: int, port: int, folder: Path) -> None:
        self.address = f"{HOST}:{port}"
        self._environment = stack.process_environment()
        self._java = kafka_java(stack.layout, heap_mib=256)
        self._properties = folder / f"broker-{node}.properties"
        self._log = folder / f"broker-{node}.log"
        own = {
            "process.roles": "broker",
            "node.id": str(node),
            "listeners": f"PLAINTEXT://{self.address}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "log.dirs": str(folder / f"broker-{node}"),
        }
        lines = (stack.layout.conf / "kafka.properties").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if "=" in line) | own
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self._process: subprocess.Popen[bytes] | None = None
        format_ = ("kafka.tools.StorageTool", "format", "--cluster-id", KAFKA_CLUSTER_ID)
        formatted = self._run(*format_, "--config", str(self._properties)).wait(120)
        assert formatted == 0, self._log.read_text()

    def start(self) -> None:
        """Begin; it is there when it registers with the controller."""
        self._process = self._run("kafka.Kafka", str(self._properties))

    def kill(self) -> None:
        """As kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen([*self._java, *arguments], env=self._environment, stdout=log, stderr=log)


@contextmanager
def brokers(stack: Stack, ports: list[int], folder: Path) -> Iterator[list[Broker]]:
    """Brokers 2 and up at these ports, started; whatever runs of them at the end is killed."""
    made = [Broker(stack, node, port, folder) for node, port in enumerate(ports, 2)]
    try:
        for one in made:
            one.start()
        yield made
    finally:
        for one in made:
            one.kill()
