-- Views for BI tools over the Parquet of the rollup, in DuckDB. docs/bi.md says what they are.
-- First say where the history lies, as in docs/parquet.md:  SET VARIABLE url = 's3://view-counts/history';
-- Run this once in a session, and again after a rollup: a view has the files that the manifest names now. A data set that
-- has no file yet makes its statement fail, and its view is not there.

SET TimeZone = 'UTC';
SET VARIABLE manifest = (SELECT content FROM read_text(getvariable('url') || '/manifest.json'));
CREATE OR REPLACE MACRO paths(files) AS (
    list_transform(
        list_distinct(json_extract_string(getvariable('manifest'), files)),
        lambda path: getvariable('url') || '/' || path
    )
);

CREATE OR REPLACE VIEW how_far AS
SELECT to_timestamp(json_extract(getvariable('manifest'), '$.through_hour')::BIGINT * 3600) AS complete_through;

SET VARIABLE minutes = paths('$.files.minutes.*.*');
CREATE OR REPLACE VIEW views_by_minute AS
SELECT viewed_day, minute, video_id, kind, views, late_added
FROM read_parquet(getvariable('minutes'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE hours = paths('$.files.hours.*.*');
CREATE OR REPLACE VIEW views_by_hour AS
SELECT viewed_day, hour, video_id, kind, views, late_added
FROM read_parquet(getvariable('hours'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE days = paths('$.files.days.*.*');
CREATE OR REPLACE VIEW views_by_day AS
SELECT viewed_day, video_id, kind, views, late_added
FROM read_parquet(getvariable('days'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE totals = paths('$.files.totals.*.*');
CREATE OR REPLACE VIEW views_total AS
SELECT video_id, kind, views, late_added
FROM read_parquet(getvariable('totals'))
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE countries = paths('$.files.countries.*.*');
CREATE OR REPLACE VIEW views_by_country AS
SELECT viewed_day, hour, country, video_id, kind, views
FROM read_parquet(getvariable('countries'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE devices = paths('$.files.devices.*.*');
CREATE OR REPLACE VIEW views_by_device AS
SELECT viewed_day, device, video_id, kind, views
FROM read_parquet(getvariable('devices'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE channels = paths('$.files.channels.*.*');
CREATE OR REPLACE VIEW views_by_channel AS
SELECT viewed_day, hour, channel_id, kind, views, late_added
FROM read_parquet(getvariable('channels'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE viewers = paths('$.files.viewers.*.*');
CREATE OR REPLACE VIEW viewers_by_day AS
SELECT viewed_day, video_id, kind, viewers
FROM read_parquet(getvariable('viewers'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE marks = paths('$.files.marks.*.*');
CREATE OR REPLACE VIEW marked_by_day AS
SELECT viewed_day, video_id, kind, marked, marked_viewers
FROM read_parquet(getvariable('marks'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE top_hours = paths('$.files.top_hours.*.*');
CREATE OR REPLACE VIEW top_by_hour AS
SELECT viewed_day, hour, country, rank, video_id, kind, views
FROM read_parquet(getvariable('top_hours'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE top_days = paths('$.files.top_days.*.*');
CREATE OR REPLACE VIEW top_by_day AS
SELECT viewed_day, country, rank, video_id, kind, views
FROM read_parquet(getvariable('top_days'), hive_partitioning = true)
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

SET VARIABLE imports = paths('$.imports.*.path');
CREATE OR REPLACE VIEW imported AS
SELECT video_id, kind, day, hour, views, source
FROM read_parquet(getvariable('imports'))
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';
