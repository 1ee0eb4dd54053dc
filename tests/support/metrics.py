"""What Flink's reporter in a process of the stack says now. Not what the REST interface fetched some time ago."""

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tools.stack import Stack
from tools.stack.machine.local_http import open_local


def samples(stack: Stack, part: str) -> list[Sample]:
    """Name, labels and value of each figure of the `jobmanager` or `taskmanager`; none while it is away."""
    try:
        with open_local(f"{stack.endpoints[f'{part}_metrics']}/metrics", timeout_s=10) as answer:
            text = answer.read().decode()
    except OSError:
        return []
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]
