-- Metering: which windows need work. The truth about it stands here; Airflow decides when to look.

CREATE TABLE billing.metering_runs (
    run_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opened_by       text NOT NULL,
    recorded_after  timestamptz NOT NULL,
    recorded_until  timestamptz NOT NULL,
    occurred_from   timestamptz,
    occurred_until  timestamptz,
    events_arrived  bigint NOT NULL,
    buckets_queued  bigint NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at       timestamptz,
    CHECK (recorded_after <= recorded_until)
);
COMMENT ON TABLE billing.metering_runs IS
    'Each time that arrivals were taken up. A run queues the windows that events recorded in (recorded_after, recorded_until] '
    'touch, and, for a backfill, every window of [occurred_from, occurred_until). What a failed run left queued, the next does.';

CREATE TABLE billing.buckets_to_meter (
    team_id      integer NOT NULL,
    meter_id     integer NOT NULL,
    bucket_start timestamptz NOT NULL,
    run_id       bigint NOT NULL,
    PRIMARY KEY (team_id, meter_id, bucket_start)
);
COMMENT ON TABLE billing.buckets_to_meter IS 'Quarter-hours to compute again from raw events. Emptied when a run closes.';

CREATE TABLE billing.periods_to_rate (
    team_id          integer NOT NULL,
    subscription_key text NOT NULL,
    period_start     timestamptz NOT NULL,
    run_id           bigint NOT NULL,
    PRIMARY KEY (team_id, subscription_key, period_start)
);
COMMENT ON TABLE billing.periods_to_rate IS 'Billing periods whose bills are to be made again. Emptied when a run closes.';

CREATE TABLE billing.gate_results (
    gate        text NOT NULL,
    checked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id      bigint,
    expectation text NOT NULL,
    severity    text NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    success     boolean NOT NULL,
    observed    jsonb NOT NULL,
    PRIMARY KEY (gate, checked_at, expectation)
);
COMMENT ON TABLE billing.gate_results IS 'What each quality gate looked at and found. Holds no customer data, only counts.';

CREATE TABLE billing.holds (
    team_id      integer NOT NULL REFERENCES billing.teams,
    hold_key     text NOT NULL,
    gate         text NOT NULL,
    reason       text NOT NULL,
    held_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at  timestamptz,
    released_by  text,
    PRIMARY KEY (team_id, hold_key, held_at)
);
CREATE UNIQUE INDEX holds_in_force ON billing.holds (team_id, hold_key) WHERE released_at IS NULL;
COMMENT ON TABLE billing.holds IS
    'Teams that are not finalized or submitted until somebody or the mended cause releases them; all others go on.';
