"""The table and the line show what the snapshot says, and say so when something is not known."""

import io

from rich.console import Console

from tools.demo.canary import Freshness
from tools.demo.counters import Counters
from tools.demo.view import Snapshot, as_line, as_table

KNOWN = Snapshot(
    running_s=3725.9,
    sends=True,
    total=Counters(12_000, 11_900, 7, 11_800, 11_000, 600, 150, 40, 10),
    recent=Counters(1_200, 1_190, 1, 1_180, 1_100, 60, 15, 4, 1),
    per_second={"sent": 2000.4, "counted": 1890.0},
    lag_records=1_234,
    freshness=Freshness.of([0.5, 0.7, 0.9]),
    complete_through="2026-11-24T05:00:00Z",
    top=[("video-000001", 5_432), ("video-000000", 98)],
    addresses={"ingest": "http://127.0.0.1:8080"},
)


def rendered(snapshot: Snapshot, width: int = 120) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(as_table(snapshot))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def row(lines: list[str], title: str) -> str:
    (found,) = [line for line in lines if line.startswith(f"{title} ")]
    return found


def test_the_table_has_each_counter_by_second_lately_and_in_all() -> None:
    lines = rendered(KNOWN)
    assert row(lines, "sent").startswith("sent 2,000 1,200 12,000")
    assert row(lines, "counted").startswith("counted 1,890 1,100 11,000")
    assert row(lines, "duplicates").startswith("duplicates 0 60 600")
    assert row(lines, "dead letters").startswith("dead letters 0 1 10")
    assert row(lines, "running") == "running 1:02:05"
    assert row(lines, "lag") == "lag 1,234 records"
    assert row(lines, "freshness") == "freshness 0.9 s (median 0.7, p99 0.9)"
    assert row(lines, "complete through") == "complete through 2026-11-24T05:00:00Z"
    assert row(lines, "ingest") == "ingest http://127.0.0.1:8080"
    assert any(line.endswith("video-000001 5,432") for line in lines)


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    # Shortened text ends in an ellipsis.
    assert not any("…" in line for line in rendered(KNOWN, width=80))


def test_the_line_has_the_same_numbers() -> None:
    assert as_line(KNOWN) == (
        "1:02:05; sent 2,000/s, accepted 11,900; counted 11,000 (1,890/s); duplicates 600; late 150; invalid 40; "
        "dead letters 10; lag 1,234 records; freshness 0.9 s (median 0.7, p99 0.9); top video-000001 5,432"
    )


def test_what_is_not_known_is_not_shown_as_zero() -> None:
    start = Snapshot(running_s=2.0, sends=True, total=Counters(), recent=Counters(), per_second={}, waiting_s=11.4)
    assert "lag not known yet; freshness waiting for 11 s" in as_line(start)
    assert row(rendered(start), "lag") == "lag not known yet"


def test_a_view_that_waits_long_is_shown_beside_the_freshness_of_others() -> None:
    stuck = Snapshot(1.0, True, Counters(), Counters(), {}, 5, Freshness(0.4, 0.5, 0.6), waiting_s=42.0)
    assert as_line(stuck).endswith("freshness 0.4 s (median 0.5, p99 0.6), waiting for 42 s")


def test_trouble_is_shown() -> None:
    troubled = Snapshot(1.0, True, Counters(), Counters(), {}, trouble="ingest answered 500")
    assert as_line(troubled).endswith("trouble: ingest answered 500")
    assert row(rendered(troubled), "trouble") == "trouble ingest answered 500"


def test_without_a_load_only_the_ledger_is_shown() -> None:
    quiet = Snapshot(1.0, False, Counters(counted=3), Counters(), {}, 0)
    assert as_line(quiet) == "0:00:01; counted 3 (0/s); duplicates 0; late 0; invalid 0; dead letters 0; lag 0 records"
    assert not any(line.startswith(("sent", "freshness")) for line in rendered(quiet))


def test_freshness_is_of_the_samples_in_order_of_time() -> None:
    assert Freshness.of([]) is None
    assert Freshness.of([3.0, 1.0, 2.0]) == Freshness(last_s=2.0, median_s=2.0, p99_s=3.0)
    hundreds = [float(n) for n in range(1, 201)]
    assert Freshness.of(hundreds) == Freshness(last_s=200.0, median_s=101.0, p99_s=199.0)
