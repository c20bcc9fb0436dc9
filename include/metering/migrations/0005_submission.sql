-- Submission: what Stripe should have, what was sent, what Stripe confirmed. Append-only but for the state of a submission.

CREATE TABLE billing.stripe_customers (
    team_id            integer PRIMARY KEY REFERENCES billing.teams,
    stripe_customer_id text NOT NULL UNIQUE,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    missing_since      timestamptz
);
COMMENT ON COLUMN billing.stripe_customers.missing_since IS
    'Since when Stripe does not know the customer any more (somebody deleted it); nothing is sent for this team then.';

CREATE TABLE billing.stripe_meters (
    meter_id        integer PRIMARY KEY REFERENCES billing.meters,
    stripe_meter_id text NOT NULL UNIQUE,
    event_name      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_since  timestamptz
);
COMMENT ON COLUMN billing.stripe_meters.archived_since IS
    'Since when the meter is deactivated at Stripe; nothing is sent for it until it is active again.';

CREATE TABLE billing.stripe_windows (
    team_id      integer NOT NULL,
    meter_id     integer NOT NULL,
    dimensions   jsonb NOT NULL DEFAULT '{}',
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    event_at     timestamptz NOT NULL,
    closed_at    timestamptz,
    held_code    text CHECK (held_code IN (
        'too_old', 'too_many_digits', 'negative', 'customer_missing', 'meter_archived', 'refused')),
    held_reason  text,
    held_at      timestamptz,
    PRIMARY KEY (team_id, meter_id, window_start, window_end, dimensions),
    CHECK (event_at > window_start AND event_at < window_end),
    CHECK (date_bin('1 minute', window_start, '2000-01-01Z') = window_start),
    CHECK (date_bin('1 minute', window_end, '2000-01-01Z') = window_end),
    CHECK ((held_code IS NULL) = (held_reason IS NULL) AND (held_code IS NULL) = (held_at IS NULL))
);
COMMENT ON TABLE billing.stripe_windows IS
    'The address of a billable fact: a UTC day of one team and meter, cut where a billing period begins or ends. event_at is '
    'stamped on every event of the window and lies inside it, since Stripe''s treatment of edges contradicts itself. Where '
    'periods are cut anew, other windows take the place of these, and the target of these becomes zero.';
COMMENT ON COLUMN billing.stripe_windows.closed_at IS 'When the invoice that bills this window became final: no event counts any more.';
COMMENT ON COLUMN billing.stripe_windows.held_code IS
    'Why nothing more is sent for this window. refused stays until somebody releases it; planning looks at all others anew.';

CREATE TABLE billing.stripe_targets (
    team_id      integer NOT NULL,
    meter_id     integer NOT NULL,
    dimensions   jsonb NOT NULL DEFAULT '{}',
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    revision     integer NOT NULL,
    quantity     numeric(38, 12) NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, meter_id, window_start, window_end, dimensions, revision),
    FOREIGN KEY (team_id, meter_id, window_start, window_end, dimensions) REFERENCES billing.stripe_windows
);
COMMENT ON TABLE billing.stripe_targets IS 'Versions of the quantity that Stripe should have for a window; the highest revision counts.';

CREATE TABLE billing.stripe_submissions (
    team_id           integer NOT NULL,
    meter_id          integer NOT NULL,
    dimensions        jsonb NOT NULL DEFAULT '{}',
    window_start      timestamptz NOT NULL,
    window_end        timestamptz NOT NULL,
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
    PRIMARY KEY (team_id, meter_id, window_start, window_end, dimensions, sequence),
    UNIQUE (team_id, identifier),
    FOREIGN KEY (team_id, meter_id, window_start, window_end, dimensions) REFERENCES billing.stripe_windows,
    CHECK (state <> 'in_flight' OR (lease_owner IS NOT NULL AND lease_until IS NOT NULL AND first_attempt_at IS NOT NULL)),
    CHECK (state <> 'uncertain' OR first_attempt_at IS NOT NULL),
    CHECK (state <> 'pending' OR first_attempt_at IS NULL)
);
-- At most one submission of a window may have an unknown outcome: then Stripe's summary is either what we know it to have or
-- that plus this one's quantity, and reading it decides.
CREATE UNIQUE INDEX stripe_submissions_open
    ON billing.stripe_submissions (team_id, meter_id, window_start, window_end, dimensions)
    WHERE state IN ('pending', 'in_flight', 'uncertain');
CREATE INDEX stripe_submissions_due ON billing.stripe_submissions (not_before NULLS FIRST)
    WHERE state IN ('pending', 'in_flight', 'uncertain');
CREATE INDEX stripe_submissions_accepted ON billing.stripe_submissions (team_id, meter_id) WHERE state = 'accepted';
COMMENT ON TABLE billing.stripe_submissions IS
    'Outbox and ledger in one. Payloads never change; identifier is made of the window, the sequence and the payload; the '
    'HTTP idempotency key is identifier:k<server_errors>, so that only a 5xx, which Stripe stores and replays, changes it.';
COMMENT ON COLUMN billing.stripe_submissions.first_attempt_at IS
    'When the first attempt began whose outcome may be unknown, by Stripe''s side''s clock: Stripe remembers identifiers for '
    '24 hours of it. Null where no attempt can have had an effect. accepted_at and absent_since are of the same clock.';
COMMENT ON COLUMN billing.stripe_submissions.lease_owner IS 'The database session that sends it: gone, or past lease_until, and others may.';

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

CREATE TABLE billing.stripe_rate (
    bucket  text PRIMARY KEY,
    next_at timestamptz NOT NULL
);
COMMENT ON TABLE billing.stripe_rate IS
    'The next free moment for a request to Stripe, shared by all processes: whoever wants to send reserves moments here.';

CREATE VIEW billing.stripe_window_states AS
SELECT
    w.team_id, w.meter_id, w.dimensions, w.window_start, w.window_end, w.event_at, w.closed_at,
    w.held_code, w.held_reason, w.held_at,
    coalesce(t.quantity, 0) AS target_quantity,
    coalesce(s.ledger_quantity, 0) AS ledger_quantity,
    coalesce(s.open_quantity, 0) AS open_quantity,
    coalesce(s.is_open, false) AS is_open,
    coalesce(s.last_sequence, 0) AS last_sequence
FROM billing.stripe_windows w
LEFT JOIN LATERAL (
    SELECT t.quantity FROM billing.stripe_targets t
    WHERE t.team_id = w.team_id AND t.meter_id = w.meter_id AND t.window_start = w.window_start
      AND t.window_end = w.window_end AND t.dimensions = w.dimensions
    ORDER BY t.revision DESC LIMIT 1
) t ON true
LEFT JOIN (
    SELECT
        team_id, meter_id, window_start, window_end, dimensions,
        sum(quantity) FILTER (WHERE state IN ('accepted', 'confirmed')) AS ledger_quantity,
        sum(quantity) FILTER (WHERE state IN ('pending', 'in_flight', 'uncertain')) AS open_quantity,
        bool_or(state IN ('pending', 'in_flight', 'uncertain')) AS is_open,
        max(sequence) AS last_sequence
    FROM billing.stripe_submissions
    GROUP BY team_id, meter_id, window_start, window_end, dimensions
) s USING (team_id, meter_id, window_start, window_end, dimensions);
COMMENT ON VIEW billing.stripe_window_states IS
    'Each window with what Stripe should have (target), what it took (ledger: accepted and confirmed) and what is on its way '
    '(open). It owes Stripe target - ledger - open.';
