"""Whoever lists what became of an event lists the same columns in the same order: code, tables and the demo."""

import re
from dataclasses import fields

from connectors.cassandra import migrations
from schemas.ledger import FATES, LEDGER_COLUMNS
from tools.demo.counters import Counters
from tools.demo.view import _LEDGER_ROWS
from udfs.logic.stream.ledger import Tally
from udfs.sinks import cassandra_writer


def columns_of_the_table() -> list[str]:
    """As the migrations make it, the key first."""
    cql = [statement for migration in migrations() for statement in migration.statements()]
    (made,) = [text for text in cql if text.startswith("CREATE TABLE IF NOT EXISTS ledger (")]
    added = [re.match(r"ALTER TABLE ledger ADD (?:IF NOT EXISTS )?(\w+)", text) for text in cql]
    return [*re.findall(r"^    (\w+) (?:timestamp|int|bigint),", made, re.MULTILINE), *(one[1] for one in added if one)]


def test_the_table_has_the_columns_in_this_order() -> None:
    assert columns_of_the_table() == ["minute", "salt", *LEDGER_COLUMNS]


def test_a_tally_has_them_after_its_minute_and_is_written_so() -> None:
    assert [field.name for field in fields(Tally)] == ["minute", *LEDGER_COLUMNS]
    written = re.search(r"\((.*?)\)", cassandra_writer._LEDGER)
    assert written is not None
    assert written[1].split(", ") == ["minute", "salt", *LEDGER_COLUMNS]


def test_the_demo_shows_every_fate() -> None:
    assert {"received", *FATES} <= {field.name for field in fields(Counters)}
    assert {name for _, name in _LEDGER_ROWS} == {"received", *FATES}
