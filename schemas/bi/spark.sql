-- Views for BI tools over the Iceberg tables, in Spark. docs/bi.md says what they are. No test runs Spark.
-- The catalogue `history` is set as in docs/parquet.md. In Spark, filter by viewed_day, and never by a timestamp: that
-- finds nothing, without an error.

CREATE OR REPLACE TEMPORARY VIEW views_by_minute AS
SELECT viewed_day, minute, video_id, kind, views, late_added
FROM history.minutes
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW views_by_hour AS
SELECT viewed_day, hour, video_id, kind, views, late_added
FROM history.hours
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW views_by_day AS
SELECT viewed_day, video_id, kind, views, late_added
FROM history.days
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW views_total AS
SELECT video_id, kind, views, late_added
FROM history.totals
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW views_by_country AS
SELECT viewed_day, hour, country, video_id, kind, views
FROM history.countries
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW views_by_device AS
SELECT viewed_day, device, video_id, kind, views
FROM history.devices
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW views_by_channel AS
SELECT viewed_day, hour, channel_id, kind, views, late_added
FROM history.channels
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW viewers_by_day AS
SELECT viewed_day, video_id, kind, viewers
FROM history.viewers
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW marked_by_day AS
SELECT viewed_day, video_id, kind, marked, marked_viewers
FROM history.marks
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW top_by_hour AS
SELECT viewed_day, hour, country, rank, video_id, kind, views
FROM history.top_hours
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';

CREATE OR REPLACE TEMPORARY VIEW top_by_day AS
SELECT viewed_day, country, rank, video_id, kind, views
FROM history.top_days
WHERE kind NOT LIKE 'blocked:%' AND kind NOT LIKE 'canary:%';
