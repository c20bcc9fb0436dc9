-- What Stripe found out about usage after it had answered well, and which version of its API a submission was sent to.

CREATE TABLE billing.stripe_error_reports (
    event_id         text NOT NULL,
    code             text NOT NULL,
    event_type       text NOT NULL,
    stripe_meter_id  text,
    error_count      integer NOT NULL,
    samples          jsonb NOT NULL,
    validation_start timestamptz NOT NULL,
    validation_end   timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_id, code)
);
CREATE INDEX ON billing.stripe_error_reports (stripe_meter_id, validation_start);
COMMENT ON TABLE billing.stripe_error_reports IS
    'Stripe''s reports of meter events that it accepted and then refused, one row a report and code. Append-only.';
COMMENT ON COLUMN billing.stripe_error_reports.samples IS
    'Some of the refused requests: [{"message": …, "idempotency_key": …}]. There may be more than these.';
COMMENT ON COLUMN billing.stripe_error_reports.stripe_meter_id IS 'Null where Stripe knew no meter of the event''s name.';

ALTER TABLE billing.stripe_submissions ADD COLUMN api_version text;
COMMENT ON COLUMN billing.stripe_submissions.api_version IS
    'Where it was first sent, v1 or v2: what may have arrived there is not sent again elsewhere.';

ALTER TABLE billing.stripe_windows DROP CONSTRAINT stripe_windows_held_code_check;
ALTER TABLE billing.stripe_windows ADD CONSTRAINT stripe_windows_held_code_check CHECK (held_code IN (
    'too_old', 'too_many_digits', 'negative', 'customer_missing', 'meter_archived', 'refused', 'reported'));
COMMENT ON COLUMN billing.stripe_windows.held_code IS
    'Why nothing more is sent for this window. refused stays until somebody releases it, reported until Stripe''s total has '
    'decided; planning looks at all others anew.';
