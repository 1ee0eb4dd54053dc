"""Renders the configuration files of Kafka, Cassandra, SeaweedFS and Redis for one local node each. Writes no file."""

import json
from collections.abc import Mapping

from tools.stack.layout import Layout
from tools.stack.machine.ports import HOST

S3_ACCESS_KEY = "view-counts"
S3_SECRET_KEY = "view-counts-secret"  # noqa: S105 - of the local stack alone
S3_BUCKET = "view-counts"
REDIS_MIB = 64


def kafka_server_properties(layout: Layout, ports: Mapping[str, int]) -> str:
    """The configuration of a broker and controller in one process, with one replica of everything."""
    broker = f"PLAINTEXT://{HOST}:{ports['kafka']}"
    controller = f"CONTROLLER://{HOST}:{ports['kafka_controller']}"
    return _properties(
        {
            "process.roles": "broker,controller",
            "node.id": "1",
            # The voter is static, so that the controller's port may change between starts.
            "controller.quorum.voters": f"1@{HOST}:{ports['kafka_controller']}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{broker},{controller}",
            "advertised.listeners": broker,
            "log.dirs": str(layout.data / "kafka"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            # All topics come from schemas/topics.py. A misspelt name must fail.
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # After a kill -9 Kafka checks its logs segment by segment. Two threads use both cores.
            "num.recovery.threads.per.data.dir": "2",
            # A killed broker comes back with the same id. Its old session must not fence it for long.
            "broker.session.timeout.ms": "6000",
        }
    )


def kafka_log4j2(_layout: Layout) -> str:
    """The logging configuration: warnings, and a few lines about start and stop, to standard output."""
    return _properties(
        {
            "rootLogger.level": "WARN",
            "rootLogger.appenderRef.console.ref": "Console",
            "appender.console.name": "Console",
            "appender.console.type": "CONSOLE",
            "appender.console.layout.type": "PatternLayout",
            "appender.console.layout.pattern": "%d %-5p %c - %m%n",
            "logger.server.name": "kafka.server.KafkaRaftServer",
            "logger.server.level": "INFO",
            "logger.log.name": "kafka.log.LogManager",
            "logger.log.level": "INFO",
        }
    )


def cassandra_yaml(layout: Layout, ports: Mapping[str, int]) -> str:
    """The configuration of a single node, which loses no acknowledged write by a kill -9."""
    data = layout.data / "cassandra"
    settings: dict[str, object] = {
        "cluster_name": "view-counts",
        "num_tokens": 1,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "data_file_directories": [str(data / "data")],
        "commitlog_directory": str(data / "commitlog"),
        "saved_caches_directory": str(data / "saved_caches"),
        "hints_directory": str(data / "hints"),
        "cdc_raw_directory": str(data / "cdc"),
        # The commit log is on disk before a write is acknowledged, because there is no second replica. It is not
        # "group", because rows of a batch are applied one after the other, and each would wait for the next group.
        "commitlog_sync": "batch",
        "commitlog_segment_size": "16MiB",
        "commitlog_total_space": "512MiB",
        "endpoint_snitch": "SimpleSnitch",
        "listen_address": HOST,
        "rpc_address": HOST,
        "storage_port": ports["cassandra_storage"],
        "native_transport_port": ports["cassandra"],
        "start_native_transport": True,
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": f"{HOST}:{ports['cassandra_storage']}"}],
            }
        ],
        "hinted_handoff_enabled": False,
        "auto_snapshot": False,
        # Limits of sizes and numbers keep their defaults, so that a default cluster accepts what this node accepts.
        # There are no older nodes, so the node uses the newest formats, and TTLs beyond 2038.
        "storage_compatibility_mode": "NONE",
        "memtable_heap_space": "128MiB",
        "memtable_offheap_space": "128MiB",
        "memtable_flush_writers": 1,
        "concurrent_compactors": 1,
        "compaction_throughput": "32MiB/s",
        "file_cache_size": "64MiB",
        "key_cache_size": "16MiB",
        "native_transport_max_threads": 32,
        "concurrent_reads": 16,
        "concurrent_writes": 16,
        # Answers are slow on busy cores, but not lost.
        "read_request_timeout": "10s",
        "range_request_timeout": "20s",
        "write_request_timeout": "10s",
        "request_timeout": "20s",
    }
    # Every JSON text is YAML, too.
    return json.dumps(settings, indent=1) + "\n"


def cassandra_logback(_layout: Layout) -> str:
    """The logging configuration: warnings, and the lines of the start, to standard output."""
    return """<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %-5level %logger{30} - %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="STDOUT"/></root>
  <logger name="org.apache.cassandra.service" level="INFO"/>
  <logger name="org.apache.cassandra.db.commitlog" level="INFO"/>
  <!-- A line for every batch above batch_size_warn_threshold, which most are. -->
  <logger name="org.apache.cassandra.cql3.statements.BatchStatement" level="ERROR"/>
</configuration>
"""


def redis_conf(layout: Layout, ports: Mapping[str, int]) -> str:
    """The configuration of a server that keeps nothing: what lies in it may be lost at any time."""
    return "\n".join(
        (
            f"bind {HOST}",
            f"port {ports['redis']}",
            "databases 1",
            'save ""',
            "appendonly no",
            f"maxmemory {REDIS_MIB}mb",
            # What was not used for the longest time goes first, and no write is refused.
            "maxmemory-policy allkeys-lru",
            f"dir {json.dumps(str(layout.tmp), ensure_ascii=False)}",
            "",
        )
    )


def seaweedfs_identities(_layout: Layout) -> str:
    """The configuration of the only S3 user."""
    identity = {
        "name": "view-counts",
        "credentials": [{"accessKey": S3_ACCESS_KEY, "secretKey": S3_SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return json.dumps({"identities": [identity]}, indent=1) + "\n"


def _properties(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())
