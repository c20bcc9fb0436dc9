-- name: make_ahead
-- Makes the partitions of this month and the next ones.
SELECT landing.ensure_months(array_agg(month)) AS made
FROM generate_series(
    date_trunc('month', now(), 'UTC'),
    date_add(date_trunc('month', now(), 'UTC'), make_interval(months => %(months_ahead)s), 'UTC'),
    interval '1 month', 'UTC') AS month;

-- name: sizes
-- Each month partition with its size on disk, indexes included, and the planner's estimate of its rows.
SELECT children.relname AS partition, pg_total_relation_size(children.oid) AS bytes,
    greatest(children.reltuples, 0)::bigint AS rows
FROM pg_catalog.pg_inherits AS inherits
JOIN pg_catalog.pg_class AS children ON children.oid = inherits.inhrelid
WHERE inherits.inhparent = 'landing.usage_events'::regclass
ORDER BY 1;
