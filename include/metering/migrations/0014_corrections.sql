-- What was changed about the past on purpose, why, and by whom.

CREATE TABLE billing.catalog_corrections (
    correction_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by       text NOT NULL,
    reason        text NOT NULL CHECK (reason <> ''),
    changes       jsonb NOT NULL
);
COMMENT ON TABLE billing.catalog_corrections IS
    'Each time that prices, plans or subscriptions were changed for a time that had been billed or was being billed: the reason, '
    'and for each change the teams, and how many of their final bills it is about.';

-- A price that is corrected is found by when it was recorded.
CREATE INDEX price_versions_recorded_at ON billing.price_versions (recorded_at);
