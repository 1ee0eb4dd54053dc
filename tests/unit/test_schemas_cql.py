"""Migrations that were published never change: an installation that applied one refuses to start with another."""

import re
from pathlib import Path

from connectors.cassandra import migrations

# Name and SHA-256 of each migration in the order of application: append-only.
PINNED = [
    tuple(line.split())
    for line in (Path(__file__).parents[1] / "golden" / "cql_migrations.txt").read_text().splitlines()
]


def test_published_migrations_never_change() -> None:
    found = {migration.name: migration.checksum for migration in migrations()}
    changed = [name for name, checksum in PINNED if found.get(name) != checksum]
    assert not changed, (
        f"schemas/cql of {changed} was published and may not change or go: put it back and write the change as the "
        "next migration"
    )


def test_every_migration_is_pinned_in_order() -> None:
    names = [migration.name for migration in migrations()]
    lines = "\n".join(f"{migration.name} {migration.checksum}" for migration in migrations()[len(PINNED) :])
    assert names == [name for name, _ in PINNED], f"append to tests/golden/cql_migrations.txt:\n{lines}"


def test_migrations_are_numbered_without_gaps_and_repeatable() -> None:
    for number, migration in enumerate(migrations(), start=1):
        assert migration.name.startswith(f"{number:03d}_")
        assert migration.statements()
        for statement in migration.statements():
            # Applied again after a break in the middle, each statement must find its work done without failing.
            assert re.match(r"CREATE (TABLE|INDEX) IF NOT EXISTS|ALTER TABLE|INSERT INTO", statement), statement
