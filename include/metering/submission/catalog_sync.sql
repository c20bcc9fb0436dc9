-- name: stop_sending
-- Whether nobody sends: whoever changes what was sent wants the ledger for itself, until the end of the session or `resume_sending`.
SELECT pg_try_advisory_lock(7104) AS is_mine;

-- name: resume_sending
-- The end of it.
SELECT pg_advisory_unlock(7104);

-- name: take_turn
-- One process at a time makes things at Stripe.
SELECT pg_advisory_lock(7103);

-- name: end_turn
-- The end of it.
SELECT pg_advisory_unlock(7103);

-- name: meters
-- Our meters, each with its counterpart at Stripe where it is known.
SELECT meter_id, meter_key, meter_name, stripe_meter_id, stripe_meters.event_name
FROM billing.meters
LEFT JOIN billing.stripe_meters USING (meter_id)
ORDER BY meter_id;

-- name: keep_meter
-- Remember the counterpart of a meter.
INSERT INTO billing.stripe_meters (meter_id, stripe_meter_id, event_name)
VALUES (%(meter_id)s, %(stripe_meter_id)s, %(event_name)s);

-- name: mark_meters
-- Note which meters are deactivated at Stripe, and which no more.
UPDATE billing.stripe_meters
SET archived_since = CASE WHEN stripe_meter_id = ANY (%(active)s) THEN NULL ELSE clock_timestamp() END
WHERE (archived_since IS NULL) <> (stripe_meter_id = ANY (%(active)s));

-- name: customers_known
-- The ids of all customers that we made or found.
SELECT stripe_customer_id FROM billing.stripe_customers;

-- name: teams_without_customer
-- Teams with usage to submit and no customer at Stripe yet.
SELECT team_id, team_key, team_name
FROM billing.teams
WHERE NOT EXISTS (SELECT FROM billing.stripe_customers WHERE stripe_customers.team_id = teams.team_id)
  AND EXISTS (SELECT FROM marts.fct_stripe_usage AS usage WHERE usage.team_id = teams.team_id AND usage.quantity <> 0)
ORDER BY team_id;

-- name: keep_customer
-- Remember the customer of a team.
INSERT INTO billing.stripe_customers (team_id, stripe_customer_id) VALUES (%(team_id)s, %(stripe_customer_id)s);

-- name: customer_of
-- The customer of a team, and since when Stripe does not know it.
SELECT team_id, team_key, team_name, stripe_customer_id, missing_since
FROM billing.teams JOIN billing.stripe_customers USING (team_id)
WHERE team_key = %(team_key)s;

-- name: customers_missing
-- Teams whose customer was deleted at Stripe.
SELECT team_id, team_key, stripe_customer_id
FROM billing.teams JOIN billing.stripe_customers USING (team_id)
WHERE missing_since IS NOT NULL
ORDER BY team_id;

-- name: replace_customer
-- Another customer is the team's from now on.
UPDATE billing.stripe_customers
SET stripe_customer_id = %(stripe_customer_id)s, missing_since = NULL, replaced_at = clock_timestamp()
WHERE team_id = %(team_id)s;

-- name: forget_sent
-- What was sent to the customer before, for windows that no final invoice has billed, leaves the ledger: planning sends it anew.
UPDATE billing.stripe_submissions AS submission
SET state = 'cancelled', lease_owner = NULL, lease_until = NULL, error_message = %(reason)s
FROM billing.stripe_windows AS address
WHERE submission.team_id = %(team_id)s
  AND submission.state IN ('pending', 'in_flight', 'uncertain', 'accepted', 'confirmed', 'missing')
  AND (submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions)
    = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
  AND address.closed_at IS NULL;

-- name: let_go
-- Nor is anything held for the customer before.
UPDATE billing.stripe_windows
SET held_code = NULL, held_reason = NULL, held_at = NULL
WHERE team_id = %(team_id)s AND held_code IN ('customer_missing', 'reported');

-- name: mark_customers
-- Note which customers are gone from Stripe, and which are there again.
UPDATE billing.stripe_customers
SET missing_since = CASE WHEN stripe_customer_id = ANY (%(present)s) THEN NULL ELSE clock_timestamp() END
WHERE (missing_since IS NULL) <> (stripe_customer_id = ANY (%(present)s));
