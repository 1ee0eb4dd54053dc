"""`make exact`: counts millions of events while every part is killed, and compares every count afterwards."""

from tools.exact.scenario import Result, Scenario, run

__all__ = ["Result", "Scenario", "run"]
