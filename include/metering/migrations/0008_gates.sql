-- What the gate on bills saw, so that the next one can tell what moved.

CREATE TABLE billing.gated_bills (
    team_id          integer NOT NULL,
    subscription_key text NOT NULL,
    period_start     timestamptz NOT NULL,
    run_id           bigint NOT NULL,
    total            numeric(38, 12) NOT NULL,
    PRIMARY KEY (team_id, subscription_key, period_start, run_id)
);
COMMENT ON TABLE billing.gated_bills IS
    'The total of a bill that was not final when a metering run gated it, wherever it differs from what the gate before saw.';
