"""The local stack: real Kafka, Cassandra, S3, Flink and the services on one machine, without containers."""

from tools.stack.flink import FlinkCommandError
from tools.stack.parts import PartError
from tools.stack.preflight import PreflightError
from tools.stack.stack import ALL_PARTS, PARTS_WITHOUT_BALANCER, PartStatus, Stack, StackOptions, StackRunningError
from tools.stack.supervision import SupervisorGoneError

__all__ = [
    "ALL_PARTS",
    "PARTS_WITHOUT_BALANCER",
    "FlinkCommandError",
    "PartError",
    "PartStatus",
    "PreflightError",
    "Stack",
    "StackOptions",
    "StackRunningError",
    "SupervisorGoneError",
]
