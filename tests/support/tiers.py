"""Two tiers of tests: all of each test, for `make test` and CI, and what `make test-unit` has time for.

In the fast tier a property is tried on fewer examples, and tests marked `slow` are left out. Whoever names a file
to pytest gets all of it.
"""

from hypothesis import settings

# The profile of hypothesis by whose name the fast tier is asked for: pytest --hypothesis-profile fast.
FAST = "fast"
# Examples of a property that names no number; in all of it, hypothesis's own number.
FAST_EXAMPLES = 10


def is_fast() -> bool:
    """Whether this run is the fast tier. Known once pytest has read its options, before tests are imported."""
    return settings.get_current_profile_name() == FAST


def examples(full: int, fast: int) -> settings:
    """The most examples of a property, in all of it and in the fast tier: a decorator."""
    return settings(max_examples=fast if is_fast() else full)
