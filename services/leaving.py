"""How a process leaves: first it says so to its balancer, then it goes on serving for a while, then it stops."""

from dataclasses import dataclass

LEAVING = "this process is about to stop; ask another one"


@dataclass(slots=True)
class Life:
    """Whether the process is about to stop. One object for all applications of a process."""

    is_leaving: bool = False
