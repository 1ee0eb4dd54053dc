"""`make audit-demo`: stream and batch count the same hours while parts are killed, and audits find planted errors."""

from tools.audit_demo.scenario import Result, Scenario, run

__all__ = ["Result", "Scenario", "run"]
