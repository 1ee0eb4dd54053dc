"""The benchmark of ingest: which bodies go to whom, what they hold, which events a topic has, and what is told."""

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from benchmarks.comparing.ingest_turns import Case, cases, schedule
from benchmarks.comparing.load_tool import LoadPlan
from benchmarks.comparing.service_host import known, shares
from benchmarks.contenders.ingest_services import FASTAPI, GO, OURS, with_key
from benchmarks.inputs import bodies
from benchmarks.measuring import go_programs, idle_loop, ingest_figures, ingest_recount, overload_figures
from benchmarks.measuring.overload_figures import MemorySample
from connectors.key_file import read_keys
from schemas import registry
from schemas.access_keys import digest
from services.ingest.events import Terms, parse_json
from services.ingest.forms import parse
from services.ingest.packing import batch_value, pack
from tests.support.packed_events import events_of

ROOT = Path(__file__).parents[2]
NOW_MS = 1_790_000_000_000


def told(**changed: Any) -> dict[str, Any]:
    """What the load tool prints."""
    return {
        "seconds": 2.0,
        "acknowledged": 1000,
        "statuses": {"202": 10},
        "broken": 0,
        "p50_ms": 60.0,
        "p99_ms": 70.0,
        "max_ms": 80.0,
        "cpu_share": 0.1,
        "throttled_s": 0.0,
        "not_sent": 0,
        **changed,
    }


def test_every_service_gets_all_that_it_understands_and_nothing_else() -> None:
    chosen = cases([OURS, GO, FASTAPI])
    assert len(chosen) == len(set(chosen)) == 18
    by_service: dict[str, int] = {}
    for _, case, service in schedule([OURS, GO, FASTAPI], chosen, 1):
        by_service[service.name] = by_service.get(service.name, 0) + 1
        assert case.form in service.forms
        assert case.encoding in service.encodings
    assert by_service == {"ours": 18, "go": 12, "fastapi": 3}


def test_a_case_is_measured_side_by_side_and_the_order_turns_around() -> None:
    plain = Case("json", "identity", 100)
    order = [service.name for _, _, service in schedule([OURS, GO, FASTAPI], [plain], 2)]
    assert order == ["ours", "go", "fastapi", "fastapi", "go", "ours"]


@pytest.mark.parametrize("form", bodies.MEDIA)
def test_ingest_takes_every_event_of_every_form(form: str) -> None:
    (plain,) = bodies.bodies(form, "identity", 1, events_per_body=100, now_ms=NOW_MS, seed=1)
    (packed,) = bodies.bodies(form, "gzip", 1, events_per_body=100, now_ms=NOW_MS, seed=1)
    parsed = parse(bodies.MEDIA[form], plain, Terms("default"), unpacked_bytes_max=1 << 20)
    found = pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=16)
    assert (found.count, parsed.rejected, found.rejected, parsed.ignored) == (100, [], [], [])
    # Avro writes a random marker into each file.
    assert form == "avro" or gzip.decompress(packed) == plain


def test_a_file_of_bodies_has_each_behind_its_length(tmp_path: Path) -> None:
    bodies.write(tmp_path / "bodies", [b"ab", b"", b"c" * 300])
    assert (tmp_path / "bodies").read_bytes() == b"\0\0\0\2ab" + b"\0\0\0\0" + b"\0\0\1\x2c" + b"c" * 300


def test_a_recount_knows_what_is_missing_and_what_is_there_twice() -> None:
    found = ingest_recount.compared(ingest_recount.expected_keys([7, 8], 3), np.sort(_written([(7, 0), (7, 1)] * 2)))
    assert found == {"acknowledged": 6, "distinct_in_topic": 2, "missing": 4, "written_twice": 2}


def test_a_recount_leaves_out_other_clients() -> None:
    first = 1 << ingest_recount.CLIENT_SHIFT
    keys = _written([(5, 0), (first + 5, 0), (2 * first + 5, 0)])
    assert ingest_recount.of_clients(keys, [0, 2]).tolist() == [keys[0], keys[2]]


def test_the_ids_of_bodies_are_found_again_in_records_of_both_kinds() -> None:
    events = bodies.events(50, random.Random(3), NOW_MS)
    request = 3 << ingest_recount.CLIENT_SHIFT | 12
    for event in events:
        event["event_id"] = f"{request:08x}{str(event['event_id'])[8:]}"
    parsed = parse_json(json.dumps({"events": events}).encode(), Terms("default"))
    packed = pack(parsed.events, parsed.indexes, now_ms=NOW_MS, salts=4)
    values = [
        batch_value([block], len(places), producer_id="p", salt=salt, salts=4, now_ms=NOW_MS)
        for salt, (block, places) in enumerate(zip(packed.blocks, packed.indexes, strict=True))
    ]
    for records in (values, [datum for _, _, datum in events_of(packed)]):
        keys = np.concatenate([ingest_recount.keys_of(ingest_recount.ids_of(value)) for value in records])
        assert np.sort(keys).tolist() == ingest_recount.expected_keys([request], 50).tolist()


def test_a_record_that_the_job_could_not_read_ends_a_recount() -> None:
    with pytest.raises(ingest_recount.UnreadableRecordError, match="truncated"):
        ingest_recount.ids_of(registry.prefix("ViewBatch") + b"\0" * 3)


def _written(places: list[tuple[int, int]]) -> Any:
    return np.array([request * ingest_recount.PLACES + place for request, place in places])


def test_a_row_has_medians_and_says_what_spoils_them() -> None:
    turns = [
        ingest_figures.turn(told(), 0.003),
        ingest_figures.turn(told(acknowledged=3000, throttled_s=0.3), 0.003),
        ingest_figures.turn(told(acknowledged=2000, statuses={"202": 9, "503": 1}), 0.004),
    ]
    row = ingest_figures.row(turns)
    assert (row["events_per_s"], row["cpu_us_per_event"]) == (1000, 2.0)
    assert row["cpu_us_per_event_range"] == [1.0, 3.0]
    assert row["spoilt_by"] == ["the load tool was at its limit of CPU", "requests that were refused"]


def test_a_turn_without_an_acknowledged_event_has_no_cost_and_no_verdict() -> None:
    turn = ingest_figures.turn(told(acknowledged=0, statuses={"503": 4}), 1.0)
    assert turn["cpu_us_per_event"] is None
    row = {"service": "ours", **Case("json", "identity", 1000).described(), **ingest_figures.row([turn])}
    assert ingest_figures.verdicts([row], []) == []


def test_verdicts_are_of_ours_beside_the_others_in_one_run() -> None:
    def row(service: str, form: str, cost: float, events: int = 1000) -> dict[str, Any]:
        case = Case(form, "identity", events).described()
        return {"service": service, **case, "cpu_us_per_event": cost, "cpu_us_per_request": cost * events}

    rows = [row("ours", "json", 2.5), row("go", "json", 2.0), row("fastapi", "json", 14.0), row("ours", "avro", 1.9)]
    rows += [row("ours", "json", 200.0, 1), row("go", "json", 100.0, 1)]
    found = ingest_figures.verdicts(rows, [{"service": "ours", "p99_ms": 151.0}])
    assert [(one["value"], one["is_reached"]) for one in found] == [
        (2.5, True),
        (2.5, False),
        (1.9, False),
        (0.18, True),
        (1.25, False),
        (2.0, None),
        (200.0, True),
        (151.0, False),
    ]
    assert [ingest_figures.verdict_line(one).rpartition(": ")[2] for one in found[4:6]] == [
        "NOT REACHED",
        "2, without a target",
    ]


def test_a_service_has_a_core_for_itself_only_if_there_are_two() -> None:
    assert shares({2, 3, 5}, is_pinned=True) == ({2}, {3, 5})
    assert shares({0}, is_pinned=True) == (set(), set())
    assert shares({0, 1}, is_pinned=False) == (set(), set())


def test_an_older_checkout_gets_no_setting_that_it_lacks() -> None:
    variables = {"PATH": "/bin", "VIEW_COUNTS_INGEST_PORT": "1", "VIEW_COUNTS_INGEST_PRIVATE_PORT": "2"}
    page = "| `VIEW_COUNTS_INGEST_PORT` | 8080 |"
    assert known(variables, page) == {"PATH": "/bin", "VIEW_COUNTS_INGEST_PORT": "1"}
    assert known(variables, (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")) == variables


def test_headers_of_a_key_and_of_a_body_reach_the_load_tool() -> None:
    plan = LoadPlan(Path("b"), 100, {**Case("avro", "gzip", 100).headers, "Authorization": "Bearer k"}, 4, 2.0)
    command = plan.command(Path("load"), "http://127.0.0.1:1/v1/events")
    expected = ["Content-Type: application/avro", "Content-Encoding: gzip", "Authorization: Bearer k"]
    assert [word.removeprefix("-header=") for word in command if word.startswith("-header=")] == expected


def test_the_key_that_is_sent_is_in_the_file_that_the_service_reads(tmp_path: Path) -> None:
    access = with_key(OURS, tmp_path / "keys.json").access
    (key,) = read_keys(Path(access.environment["VIEW_COUNTS_ACCESS_KEYS_FILE"]))
    assert key.sha256 == digest(access.headers["Authorization"].removeprefix("Bearer ")).hex()
    assert (key.scope, access.environment["VIEW_COUNTS_ACCESS_MODE"]) == ("write", "keys")
    assert OURS.access.environment.items() <= access.environment.items()


def test_without_go_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(go_programs.GoError, match=r"go is not on the PATH: install Go"):
        go_programs.build("load")


def test_the_versions_of_the_go_peer_are_pinned() -> None:
    folder = go_programs.PEERS / "go"
    required = [line.split() for line in (folder / "go.mod").read_text().splitlines() if line.startswith("\t")]
    hashes = (folder / "go.sum").read_text()
    assert ["github.com/twmb/franz-go", "v1.22.3"] in required
    for name, version, *_ in required:
        assert f"{name} {version} h1:" in hashes


def test_memory_is_judged_after_the_warm_up_alone() -> None:
    mib = 1 << 20
    growing = [MemorySample(float(at), 300 * mib, min(at, 20) * 10 * mib) for at in range(1, 101)]
    found = overload_figures.memory(growing)
    assert (found["spread"], found["pss_mib"], found["pss_mib_peak"]) == (0.0, 200.0, 200.0)
    leaking = [MemorySample(float(at), 300 * mib, (100 + at) * mib) for at in range(1, 101)]
    assert overload_figures.memory(leaking)["spread"] == pytest.approx(80 / 160)
    assert overload_figures.memory([]) == {"samples": 0}


def test_an_overload_is_judged_by_its_slower_client_and_by_what_is_missing() -> None:
    polite = told(acknowledged=300, refused_p99_ms=1.0)
    rude = told(acknowledged=600, seconds=3.0, refused_p99_ms=251.0)
    found = {
        "clients": {"polite": polite, "ignores_refusals": rude},
        "accepted_share_of_best": overload_figures.accepted_share([polite, rude], 320.0),
        "lag_p99_ms": 20.0,
        "recount": {"missing": 2},
        "memory": {"spread": 0.049},
    }
    verdicts = overload_figures.verdicts(found)
    assert [(one["value"], one["is_reached"]) for one in verdicts] == [
        (0.938, True),
        (251.0, False),
        (20.0, True),
        (2, False),
        (0.049, True),
    ]
    assert overload_figures.verdict_line(verdicts[0]).endswith("0.938; target at least 0.9: reached")


def test_the_lag_of_the_loop_is_that_of_the_run_alone() -> None:
    lag = Histogram(overload_figures.LAG, "", buckets=(0.01, 0.02, 5.0), registry=(own := CollectorRegistry()))
    for _ in range(200):
        lag.observe(4.0)
    before = generate_latest(own).decode()
    for lag_s in [0.005] * 100 + [0.015]:
        lag.observe(lag_s)
    assert overload_figures.lag_p99_ms(before, generate_latest(own).decode()) == 10.0
    for _ in range(10):
        lag.observe(0.015)
    assert overload_figures.lag_p99_ms(before, generate_latest(own).decode()) == 20.0


def test_the_loop_that_does_nothing_tells_what_99_percent_keep() -> None:
    late = [0.001] * 98 + [0.5, 0.02]
    assert idle_loop.figures(late) == {"samples": 100, "p50_ms": 1.0, "p99_ms": 20.0, "max_ms": 500.0}
    assert idle_loop.figures([]) == {"samples": 0}
