-- Alerts: thresholds on the open bill of a team.

CREATE TABLE billing.alerts (
    team_id    integer NOT NULL REFERENCES billing.teams,
    alert_key  text NOT NULL,
    measure    text NOT NULL CHECK (measure IN ('amount', 'quantity')),
    meter_id   integer REFERENCES billing.meters,
    threshold  numeric(38, 12) NOT NULL CHECK (threshold > 0),
    severity   text NOT NULL DEFAULT 'soft' CHECK (severity IN ('soft', 'hard')),
    channels   jsonb NOT NULL DEFAULT '["log"]',
    active     boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, alert_key),
    CHECK (measure = 'amount' OR meter_id IS NOT NULL)
);
COMMENT ON TABLE billing.alerts IS
    'When to warn: the amount of the open bill (in its currency), or the quantity of one meter, reaches threshold. Channels '
    'is a list of "log" and {"webhook": "<url>"}.';

CREATE TABLE billing.alert_events (
    team_id          integer NOT NULL,
    alert_key        text NOT NULL,
    subscription_key text NOT NULL,
    period_start     timestamptz NOT NULL,
    threshold        numeric(38, 12) NOT NULL,
    observed         numeric(38, 12) NOT NULL,
    triggered_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at     timestamptz,
    delivery_error   text,
    attempts         integer NOT NULL DEFAULT 0,
    PRIMARY KEY (team_id, alert_key, subscription_key, period_start, threshold),
    FOREIGN KEY (team_id, alert_key) REFERENCES billing.alerts
);
COMMENT ON TABLE billing.alert_events IS 'An alert triggers once for each period and threshold; it is delivered at least once.';
