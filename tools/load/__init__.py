"""The load generator: makes seeded traffic, keeps a record of it, and sends it in several ways. Knows no job."""

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
