-- Statements of metering.bills.known: a session that asks as of a moment.

-- name: take_horizon
-- A moment before which everything recorded has been committed.
SELECT landing.take_horizon() AS horizon;

-- name: team
-- A team by its key.
SELECT team_id FROM billing.teams WHERE team_key = %(team)s;

-- name: first_recorded
-- When the first usage was recorded.
SELECT min(recorded_at) AS recorded_at FROM landing.batches;

-- name: one_snapshot
-- All statements see one state of the database; none of them writes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: ask
-- As of which moment, and about which team. To plan some forty views takes longer than to read them for one team: a connection plans
-- once, since all that differs between two questions are values.
SELECT
    set_config('billing.as_of', %(as_of)s::timestamptz::text, true) AS as_of,
    set_config('billing.asked_team', %(team_id)s::integer::text, true) AS asked_team,
    set_config('jit', 'off', true) AS jit,
    set_config('plan_cache_mode', 'force_generic_plan', true) AS plans;

-- name: archived_arrivals
-- Archived months that may hold usage which was recorded by then and not worked in: it can't be counted again from there.
SELECT to_char(months.month, 'YYYY-MM') AS month
FROM landing.archived_months AS months
WHERE months.state <> 'restored'
    AND EXISTS (
        SELECT FROM landing.batches AS batches
        WHERE batches.recorded_at <= %(as_of)s
            AND batches.recorded_at > (
                SELECT coalesce(max(recorded_until), '-infinity') FROM billing.metering_runs
                WHERE closed_at IS NOT NULL AND superseded_at IS NULL AND recorded_until <= %(as_of)s)
            AND batches.first_occurred_at < months.ends_at AND batches.last_occurred_at >= months.starts_at)
ORDER BY month;

-- name: hand_in_what_is_unmetered
-- From here on the views hold what metering had yet to work in of this team, and are joined as whole sets: see
-- macros/asked.sql and macros/plan_for_sets.sql.
SELECT
    length(set_config('billing.unmetered_usage', coalesce(
        (SELECT jsonb_agg(to_jsonb(unmetered))::text FROM intermediate.int_usage_unmetered AS unmetered), ''), true)) AS bytes,
    set_config('enable_nestloop', 'off', true) AS nestloop;
