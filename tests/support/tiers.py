"""Three tiers of tests: what `make test-unit` has time for, what `make test` and CI run, and all, for `make nightly`.

In the fast tier a property is tried on fewer examples, and tests marked `slow` are left out. CI tries a third of the
examples that the nightly run tries: each run takes others, so that many runs of CI try as many.
"""

from hypothesis import settings

# The profile of hypothesis by whose name the fast tier is asked for: pytest --hypothesis-profile fast.
FAST = "fast"
# That of the nightly run.
THOROUGH = "thorough"
# Examples of a property that names no number; otherwise hypothesis's own number holds.
FAST_EXAMPLES = 10


def is_fast() -> bool:
    """Whether this run is the fast tier. Known once pytest has read its options, before tests are imported."""
    return settings.get_current_profile_name() == FAST


def examples(full: int, fast: int = 1) -> settings:
    """The most examples of a property, in the nightly run and in the fast tier: a decorator.

    A property that is marked `slow` names the first number alone.
    """
    if is_fast():
        return settings(max_examples=fast)
    is_thorough = settings.get_current_profile_name() == THOROUGH
    return settings(max_examples=full if is_thorough else max(fast, full // 3))
