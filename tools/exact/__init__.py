"""`make exact`: millions of events counted while everything is killed, and every count looked at afterwards."""

from tools.exact.scenario import Result, Scenario, run

__all__ = ["Result", "Scenario", "run"]
