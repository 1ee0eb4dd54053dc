"""The comparisons at the end: the sender's record, the recount, the tables in Cassandra, and the service's answers."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import numpy as np

from settings import Settings
from tools.exact.loads import CreateTimeLoad, Load, sorted_ids
from tools.load import Fate
from tools.recount import Answers, Finding, Recount, Report, Rules, Store, compare_cells, compare_hours, compare_ledger
from tools.recount.compare import by_hour, compare_progress, compare_rejected
from tools.recount.topic import read_rejected, read_topic

POLL_S = 2.0
SETTLE_S = 90.0
TOP_VIDEOS = 100
SAMPLED_VIDEOS = 100


def rules_of(settings: Settings) -> Rules:
    """The settings that the recount needs."""
    counting = settings.counting
    return Rules(
        counting.salts,
        settings.kafka.partitions,
        counting.lateness_ms,
        counting.future_skew_ms,
        counting.generation_ms,
        counting.clock_ahead_ms,
    )


def recount_topic(bootstrap_servers: str, settings: Settings) -> Recount:
    """Count the whole events topic again."""
    recount = Recount(rules_of(settings))
    for partition, offset, timestamp_ms, key, value in read_topic(bootstrap_servers, settings.kafka.events_topic):
        recount.record(partition, offset, timestamp_ms, key, value)
    return recount


def sender_against_recount(load: Load, recount: Recount) -> Report:
    """Compare the sender's record with the topic: every id, and with trusted timestamps also every ledger row."""
    report = Report()
    report.add(
        "minutes, sender's record against recount",
        len(recount.cells),
        compare_cells(load.expected_cells(), recount.cells, "sender against recount"),
    )
    expected, counted = load.expected_ids(), sorted_ids(recount.counted_ids)
    findings = []
    if not np.array_equal(expected, counted):
        findings.append(Finding("counted ids", f"{len(expected)} and {len(counted)} ids", "the same", "others"))
    report.add("counted ids", len(counted), findings)
    acknowledged = load.sent_ids()
    lost = len(acknowledged - recount.received_ids)
    report.add(
        "acknowledged ids among the received",
        len(acknowledged),
        [Finding("acknowledged but not received", "ids", 0, lost)] if lost else [],
    )
    unreadable = sum(tally["unreadable_records"] for tally in recount.ledger.values())
    if unreadable != load.bad_records["unreadable"]:
        report.findings.append(
            Finding("unreadable records", "in the topic", load.bad_records["unreadable"], unreadable)
        )
    if isinstance(load, CreateTimeLoad):
        _add_predicted(report, load, recount)
    return report


def _add_predicted(report: Report, load: CreateTimeLoad, recount: Recount) -> None:
    prediction = load.prediction
    own = {place: tally for place, tally in recount.ledger.items() if place[1] >= 0}
    report.add("ledger rows, predicted", len(prediction.ledger), compare_ledger(prediction.ledger, own))
    late = load.source.ids(load.source.events["origin"][prediction.fates == Fate.LATE]).tobytes()
    found = b"".join(event["event_id"] for event in recount.late.values())
    if not np.array_equal(sorted_ids(late), sorted_ids(found)):
        report.findings.append(Finding("late ids", "predicted", len(late) // 16, len(found) // 16))
    if recount.closed_through_ms != prediction.closed_through_ms:
        report.findings.append(
            Finding("closed through", "predicted", prediction.closed_through_ms, recount.closed_through_ms)
        )


def store_against(load: Load, recount: Recount, store: Store, bootstrap_servers: str, settings: Settings) -> Report:
    """Compare what the product has written so far with the sender's cells and, for everything else, the recount."""
    report = Report()
    expected = load.expected_cells()
    found = store.cells()
    report.add("minutes", len(expected.keys() | found.keys()), compare_cells(expected, found))
    hours, found_hours = by_hour(expected), by_hour(found)
    report.add("hours", len(hours.keys() | found_hours.keys()), compare_cells(hours, found_hours, "hour"))
    ledger = store.ledger()
    report.add("ledger rows", len(ledger), compare_ledger(recount.ledger, ledger))
    for name, topic, letters in (
        ("late events", settings.kafka.late_topic, recount.late),
        ("dead letters", settings.kafka.dead_letter_topic, recount.dead),
    ):
        report.add(
            name,
            len(letters),
            compare_rejected(name, letters, read_rejected(bootstrap_servers, topic, settings.kafka.events_topic)),
        )
    shards = settings.counting.shards
    report.add("shards closed through", shards, compare_progress(_closed(recount), store.closed_through_ms(), shards))
    return report


def answers_against(load: Load, recount: Recount, url: str) -> Report:
    """Compare the answers of the query service: hours, totals, and how far they are complete."""
    report = Report()
    with Answers(url) as answers:
        compared, findings = compare_hours(answers, load.expected_cells(), top=TOP_VIDEOS, sampled=SAMPLED_VIDEOS)
        report.add("hours over HTTP", compared, findings)
        told = answers.views("nobody-viewed-this", "view")
        told_ms = told["complete_through"] and round(
            datetime.fromisoformat(told["complete_through"]).timestamp() * 1000
        )
        expected = (0, _closed(recount))
        if (told["views"], told_ms) != expected:
            report.findings.append(Finding("complete through", "over HTTP", expected, (told["views"], told_ms)))
        report.add("complete through over HTTP", 1, [])
    return report


def settled(check: Callable[[], Report], settle_s: float = SETTLE_S) -> Report:
    """Repeat the check while something is wrong, for at most `settle_s`, because some writes come after the ledger's.

    Returns the last report.
    """
    deadline = time.monotonic() + settle_s
    while True:
        report = check()
        if not report.findings or time.monotonic() > deadline:
            return report
        time.sleep(POLL_S)


def _closed(recount: Recount) -> int | None:
    closed = recount.closed_through_ms
    # A shard writes no progress before it has closed its first minute.
    return closed if closed is not None and closed > 0 else None


def fates_of(ledger: dict[tuple[int, int], Counter[str]]) -> Counter[str]:
    """The sums of the whole ledger, by column."""
    total: Counter[str] = Counter()
    for tally in ledger.values():
        total.update(tally)
    return total
