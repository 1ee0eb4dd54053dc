"""A drainer with all that it talks to: Kafka, Cassandra and the object store."""

import threading
import time

from connectors.installation import check_topics, declaration
from connectors.kafka_admin import TopicMismatchError
from connectors.overflow_hints import Hints
from schemas.declaration import Declaration
from services.drain.drainer import Clock, Drainer
from services.drain.frontier import Frontier
from services.drain.kafka_sink import KafkaSink
from services.drain.metrics import DrainMetrics
from settings import Settings
from udfs.stores.overflow_objects import OverflowObjects

ANSWER_S = 10.0


class Running:
    """Takes turns. Call `stop` at the end."""

    def __init__(
        self,
        settings: Settings,
        objects: OverflowObjects,
        metrics: DrainMetrics,
        hints: Hints,
        ended: threading.Event,
        *,
        producer_id: str,
    ) -> None:
        self._settings = settings
        self._frontier = Frontier(settings)
        self._drainer = Drainer(
            settings,
            objects,
            KafkaSink(settings, producer_id),
            declared=self._declared,
            frontier_ms=self._frontier.read,
            clock=Clock(lambda: time.time_ns() // 1_000_000, time.monotonic, ended.wait),
            figures=metrics,
            lease=lambda name: hints.lease(name.text, name.made_ms),
            producer_id=producer_id,
        )

    def turn(self) -> None:
        """See Drainer. Raises what the object store and Kafka raise."""
        self._drainer.turn()

    def stop(self) -> None:
        """Close what is open."""
        self._frontier.stop()

    def _declared(self) -> Declaration:
        # In a topic that is not as it must be, events could be lost after their object is deleted.
        check_topics(self._settings, ANSWER_S)
        found = declaration(self._settings, ANSWER_S)
        if found is None:
            kafka = self._settings.kafka
            raise TopicMismatchError(
                f"topic {kafka.declaration_topic} has no declaration of {kafka.events_topic}; declare salts and "
                "partitions: python -m tools.stack.provision topics"
            )
        return found
