"""`make audit-demo`: stream and batch count the same hours though killed, and an audit finds every planted error."""

from tools.audit_demo.scenario import Result, Scenario, run

__all__ = ["Result", "Scenario", "run"]
