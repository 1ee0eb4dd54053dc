"""An outage is a line a second in ingest's log, and no failed batch is left out of the counts."""

from services.ingest.failure_log import FailureLog


def test_failures_are_a_line_a_second_and_add_up() -> None:
    now, lines = [100.0], []
    log = FailureLog(lambda *line: lines.append((now[0], *line)), lambda: now[0])
    for n in range(2500):
        now[0] = 100 + n / 1000
        log.note(3, f"reason {n}")
    assert [at for at, *_ in lines] == [100.0, 101.0, 102.0]
    assert lines[0] == (100.0, 1, 3, "reason 0")
    log.say()
    assert len(lines) == 3
    now[0] = 103.0
    log.say()
    log.say()
    assert lines[3:] == [(103.0, 499, 1497, "reason 2499")]
    assert (sum(line[1] for line in lines), sum(line[2] for line in lines)) == (2500, 7500)
