"""Settings that would break a counting rule, or never let a job start, are refused with what to do."""

import pytest
from pydantic import ValidationError

from settings import AccessSettings, CountingSettings, HistorySettings, IngestSettings, RedisSettings, Settings

MINUTE_MS = 60_000


def test_the_defaults_hold_their_own_rules() -> None:
    assert Settings().counting.generation_ms == 12 * MINUTE_MS


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"lateness_ms": 11 * MINUTE_MS}, "generation_ms=720000"),
        # A view dated ahead can come again that much later without being late.
        ({"future_skew_ms": MINUTE_MS + 1}, "generation_ms=720000"),
        ({"salts": 48}, "max_parallelism=128"),
        ({"salts": 256}, "less than or equal to 128"),
        ({"shards": 129}, "shards=129"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(values: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        CountingSettings(**values)


@pytest.mark.parametrize("name", ["archive", "history"])
def test_the_list_of_erasures_lies_in_no_folder_that_others_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("VIEW_COUNTS_ERASURE_PATH", f"s3://view-counts/{name}/erasures")
    with pytest.raises(ValidationError, match=rf"erasure\.path=.* is inside {name}\.path=s3://view-counts/{name}"):
        Settings()
    monkeypatch.setenv("VIEW_COUNTS_ERASURE_PATH", f"s3://view-counts/{name}-erasures")
    assert Settings().erasure.path.endswith("-erasures")


@pytest.mark.parametrize("path", ["s3://view-counts/history", "s3://view-counts/archive/o", "s3://view-counts/aa"])
def test_overflow_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("VIEW_COUNTS_ERASURE_PATH", "s3://view-counts/aa/erasures")
    monkeypatch.setenv("VIEW_COUNTS_OVERFLOW_PATH", path)
    with pytest.raises(ValidationError, match=rf"overflow\.path={path} and .*choose another folder"):
        Settings()
    monkeypatch.setenv("VIEW_COUNTS_OVERFLOW_PATH", "s3://view-counts/history-overflow")
    assert Settings().overflow.path.endswith("-overflow")


def test_a_long_skew_is_taken_with_a_generation_that_covers_it() -> None:
    rules = CountingSettings(future_skew_ms=5 * MINUTE_MS, generation_ms=16 * MINUTE_MS)
    assert rules.generation_ms == rules.lateness_ms + rules.future_skew_ms + MINUTE_MS


def test_raw_events_stay_for_as_long_as_hours_change() -> None:
    """Late events change an hour, and so does what the archive commits late."""
    assert Settings(history=HistorySettings(late_hours=167, late_file_hours=0)).archive.kept_days == 7
    assert Settings(history=HistorySettings(late_hours=144, late_file_hours=23)).archive.kept_days == 7
    for late_hours, late_file_hours in ((168, 0), (144, 24), (1, 167)):
        refusal = r"archive\.kept_days=7 is 168 hours, not longer .*late_hours \+ history\.late_file_hours = 168"
        with pytest.raises(ValidationError, match=refusal):
            Settings(history=HistorySettings(late_hours=late_hours, late_file_hours=late_file_hours))


def test_the_broker_s_stamp_counts_for_as_long_as_a_record_can_be_under_way() -> None:
    least = IngestSettings(delivery_timeout_ms=9 * MINUTE_MS)
    assert Settings(ingest=least).counting.clock_ahead_ms == 10 * MINUTE_MS
    refusal = r"clock_ahead_ms=600000 is less than ingest\.delivery_timeout_ms \+ counting\.future_skew_ms = 600001"
    with pytest.raises(ValidationError, match=refusal):
        Settings(ingest=IngestSettings(delivery_timeout_ms=9 * MINUTE_MS + 1))


def test_variables_name_group_and_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEW_COUNTS_INGEST_BODY_BYTES_MAX", "2048")
    assert Settings().ingest.body_bytes_max == 2048
    monkeypatch.setenv("VIEW_COUNTS_KAFKA_PARTITIONS", "3")
    with pytest.raises(ValidationError, match=r"kafka\.partitions=3"):
        Settings()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"username": "views"}, r"redis\.username=views is set and redis\.password_file is not"),
        ({"ca_file": "/ca.pem"}, r"redis\.ca_file=/ca\.pem is set and redis\.tls is not"),
    ],
)
def test_redis_is_not_half_secured(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        RedisSettings.model_validate(values)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"client_address_header": "X-Forwarded-For"}, r"X-Forwarded-For is set and access\.trusted_proxies is not"),
        ({"trusted_proxies": "10.0.0.1/8"}, r"10\.0\.0\.1/8 has host bits set; name networks"),
        ({"trusted_proxies": "proxy-1"}, r"'proxy-1' does not appear"),
    ],
)
def test_a_header_is_believed_from_named_networks_alone(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        AccessSettings.model_validate(values)


def test_a_country_is_believed_through_named_proxies_alone() -> None:
    ingest = IngestSettings(country_header="CF-IPCountry")
    with pytest.raises(ValidationError, match=r"CF-IPCountry is set and access\.client_address_header is not"):
        Settings(ingest=ingest)
    Settings(ingest=ingest, access=AccessSettings(client_address_header="X-Forwarded-For", trusted_proxies="10.0.0.1"))
