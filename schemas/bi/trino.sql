-- Views for BI tools over the Iceberg tables, in Trino. docs/bi.md says what they are. No test runs Trino.
-- The tables are registered in the schema `history` of the catalogue `iceberg`, as in docs/parquet.md.

CREATE SCHEMA IF NOT EXISTS iceberg.bi;

CREATE OR REPLACE VIEW iceberg.bi.views_by_minute AS
SELECT viewed_day, minute, video_id, kind, views, late_added
FROM iceberg.history.minutes
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.views_by_hour AS
SELECT viewed_day, hour, video_id, kind, views, late_added
FROM iceberg.history.hours
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.views_by_day AS
SELECT viewed_day, video_id, kind, views, late_added
FROM iceberg.history.days
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.views_total AS
SELECT video_id, kind, views, late_added
FROM iceberg.history.totals
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.views_by_country AS
SELECT viewed_day, hour, country, video_id, kind, views
FROM iceberg.history.countries
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.views_by_device AS
SELECT viewed_day, device, video_id, kind, views
FROM iceberg.history.devices
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.views_by_channel AS
SELECT viewed_day, hour, channel_id, kind, views, late_added
FROM iceberg.history.channels
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.viewers_by_day AS
SELECT viewed_day, video_id, kind, viewers
FROM iceberg.history.viewers
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.marked_by_day AS
SELECT viewed_day, video_id, kind, marked, marked_viewers
FROM iceberg.history.marks
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.top_by_hour AS
SELECT viewed_day, hour, country, rank, video_id, kind, views
FROM iceberg.history.top_hours
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE VIEW iceberg.bi.top_by_day AS
SELECT viewed_day, country, rank, video_id, kind, views
FROM iceberg.history.top_days
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';
