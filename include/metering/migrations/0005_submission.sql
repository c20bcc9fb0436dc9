-- Submission: what Stripe should have, what was sent, what Stripe confirmed. Append-only but for the state of a submission.

CREATE TABLE billing.stripe_customers (
    team_id            integer PRIMARY KEY REFERENCES billing.teams,
    stripe_customer_id text NOT NULL UNIQUE,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE billing.stripe_meters (
    meter_id        integer PRIMARY KEY REFERENCES billing.meters,
    stripe_meter_id text NOT NULL UNIQUE,
    event_name      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE billing.stripe_windows (
    team_id      integer NOT NULL REFERENCES billing.teams,
    meter_id     integer NOT NULL REFERENCES billing.meters,
    dimensions   jsonb NOT NULL DEFAULT '{}',
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    event_at     timestamptz NOT NULL,
    closed_at    timestamptz,
    held_reason  text,
    PRIMARY KEY (team_id, meter_id, window_start, dimensions),
    CHECK (event_at > window_start AND event_at < window_end)
);
COMMENT ON TABLE billing.stripe_windows IS
    'The address of a billable fact: a UTC day of one team and meter, cut where a billing period begins or ends. event_at is '
    'stamped on every event of the window and lies inside it, since Stripe''s treatment of edges contradicts itself.';
COMMENT ON COLUMN billing.stripe_windows.held_reason IS 'Why nothing more is sent for this window until somebody releases it.';

CREATE TABLE billing.stripe_targets (
    team_id      integer NOT NULL,
    meter_id     integer NOT NULL,
    dimensions   jsonb NOT NULL DEFAULT '{}',
    window_start timestamptz NOT NULL,
    revision     integer NOT NULL,
    quantity     numeric(38, 12) NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, meter_id, window_start, dimensions, revision),
    FOREIGN KEY (team_id, meter_id, window_start, dimensions) REFERENCES billing.stripe_windows
);
COMMENT ON TABLE billing.stripe_targets IS 'Versions of the quantity that Stripe should have for a window; the highest revision counts.';

CREATE TABLE billing.stripe_submissions (
    team_id           integer NOT NULL,
    meter_id          integer NOT NULL,
    dimensions        jsonb NOT NULL DEFAULT '{}',
    window_start      timestamptz NOT NULL,
    sequence          integer NOT NULL,
    quantity          numeric(38, 12) NOT NULL CHECK (quantity <> 0),
    identifier        text NOT NULL CHECK (length(identifier) <= 100),
    payload           jsonb NOT NULL,
    state             text NOT NULL DEFAULT 'pending' CHECK (state IN (
        'pending', 'in_flight', 'uncertain', 'accepted', 'confirmed', 'rejected', 'missing', 'cancelled')),
    server_errors     integer NOT NULL DEFAULT 0,
    attempts          integer NOT NULL DEFAULT 0,
    first_attempt_at  timestamptz,
    last_attempt_at   timestamptz,
    not_before        timestamptz,
    lease_owner       text,
    lease_until       timestamptz,
    accepted_at       timestamptz,
    confirmed_at      timestamptz,
    absent_since      timestamptz,
    http_status       integer,
    error_code        text,
    error_message     text,
    request_id        text,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, meter_id, window_start, dimensions, sequence),
    UNIQUE (team_id, identifier),
    FOREIGN KEY (team_id, meter_id, window_start, dimensions) REFERENCES billing.stripe_windows
);
-- At most one submission of a window may have an unknown outcome: then Stripe's summary is either what we know it to have or
-- that plus this one's quantity, and reading it decides.
CREATE UNIQUE INDEX stripe_submissions_open ON billing.stripe_submissions (team_id, meter_id, window_start, dimensions)
    WHERE state IN ('pending', 'in_flight', 'uncertain');
CREATE INDEX stripe_submissions_due ON billing.stripe_submissions (not_before NULLS FIRST)
    WHERE state IN ('pending', 'in_flight', 'uncertain');
COMMENT ON TABLE billing.stripe_submissions IS
    'Outbox and ledger in one. Payloads never change; identifier is made of the window, the sequence and the payload; the '
    'HTTP idempotency key is identifier:k<server_errors>, so that only a 5xx, which Stripe stores and replays, changes it.';

CREATE TABLE billing.stripe_attempts (
    team_id         integer NOT NULL,
    identifier      text NOT NULL,
    attempt         integer NOT NULL,
    idempotency_key text NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    outcome         text,
    http_status     integer,
    request_id      text,
    PRIMARY KEY (team_id, identifier, attempt),
    FOREIGN KEY (team_id, identifier) REFERENCES billing.stripe_submissions (team_id, identifier)
);
COMMENT ON TABLE billing.stripe_attempts IS 'Each POST, written and committed before it is made.';

CREATE TABLE billing.stripe_observations (
    team_id          integer NOT NULL,
    meter_id         integer NOT NULL,
    subscription_key text NOT NULL,
    period_start     timestamptz NOT NULL,
    observed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    stripe_quantity  numeric(38, 12) NOT NULL,
    ledger_quantity  numeric(38, 12) NOT NULL,
    open_quantity    numeric(38, 12) NOT NULL,
    target_quantity  numeric(38, 12) NOT NULL,
    verdict          text NOT NULL CHECK (verdict IN ('equal', 'settling', 'unsent', 'held', 'refused', 'surfaced', 'unexplained')),
    PRIMARY KEY (team_id, meter_id, subscription_key, period_start, observed_at)
);
COMMENT ON TABLE billing.stripe_observations IS 'What Stripe''s own summary said for a billing period, beside our ledger, each time it was read.';
