-- How much an API key may send: events a second, and at once.

ALTER TABLE billing.api_keys
    ADD COLUMN rate_per_second numeric(11, 3) CHECK (rate_per_second > 0),
    ADD COLUMN rate_burst      integer CHECK (rate_burst >= 1),
    ADD CONSTRAINT api_keys_rate CHECK ((rate_per_second IS NULL) = (rate_burst IS NULL));
COMMENT ON COLUMN billing.api_keys.rate_per_second IS
    'Events a second that each service process takes with this key; a request that brings none counts as one. NULL: no limit.';
COMMENT ON COLUMN billing.api_keys.rate_burst IS 'Events that may come at once after a pause.';
