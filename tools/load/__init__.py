"""The load generator: seeded traffic that knows what it sent, and the ways to send it. Knows nothing of the job."""

from tools.load.http import HttpSender, NotAcknowledgedError
from tools.load.kafka import KafkaSender, fill_topic
from tools.load.prediction import Fate, Prediction, Rules
from tools.load.traffic import Block, Plan, Traffic, TrafficSource

__all__ = [
    "Block",
    "Fate",
    "HttpSender",
    "KafkaSender",
    "NotAcknowledgedError",
    "Plan",
    "Prediction",
    "Rules",
    "Traffic",
    "TrafficSource",
    "fill_topic",
]
