"""The load balancer in front of ingest and query: one template of HAProxy's configuration, and what fills it.

It knows settings and HAProxy, and neither the local stack nor processes.
"""

from tools.balancer.configuration import (
    Balancer,
    BalancerError,
    Door,
    Listed,
    Resolved,
    Times,
    check_leaving,
    configuration,
)

__all__ = ["Balancer", "BalancerError", "Door", "Listed", "Resolved", "Times", "check_leaving", "configuration"]
