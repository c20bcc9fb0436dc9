-- Statements of metering.batches: upkeep of landing.batches.

-- name: intervals
-- The intervals of metering runs of long ago in which batches can be merged, the oldest first: runs that came to their end, so that
-- nothing will ask for less than a whole interval again but for what was known at a moment amid it.
SELECT runs.recorded_after, runs.recorded_until
FROM billing.metering_runs AS runs
JOIN landing.batches AS batches ON batches.recorded_at > runs.recorded_after AND batches.recorded_at <= runs.recorded_until
WHERE runs.closed_at IS NOT NULL AND runs.recorded_until < clock_timestamp() - make_interval(days => %(days)s)
    AND batches.source = 'http'
GROUP BY runs.recorded_after, runs.recorded_until
HAVING count(*) > count(DISTINCT (
    date_trunc('month', batches.first_occurred_at, 'UTC'), date_trunc('month', batches.last_occurred_at, 'UTC')))
ORDER BY runs.recorded_until;

-- name: merge
-- Of the batches that came over HTTP in an interval, those that are about the same months become one. It is as old as the oldest of
-- them and says the first and last event of all, so that whoever looks at batches up to a moment amid the interval sees no event
-- left out by these bounds.
WITH merged AS (
    DELETE FROM landing.batches
    WHERE recorded_at > %(recorded_after)s AND recorded_at <= %(recorded_until)s AND source = 'http'
    RETURNING *
),
kept AS (
    INSERT INTO landing.batches (
        batch_id, recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
    OVERRIDING SYSTEM VALUE
    SELECT
        min(batch_id), min(recorded_at), source, sum(accepted), sum(duplicates), sum(quarantined),
        min(first_occurred_at), max(last_occurred_at)
    FROM merged
    GROUP BY source, date_trunc('month', first_occurred_at, 'UTC'), date_trunc('month', last_occurred_at, 'UTC')
    RETURNING batch_id
)
SELECT (SELECT count(*) FROM merged) AS merged, (SELECT count(*) FROM kept) AS kept;
