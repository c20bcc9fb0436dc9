-- Each claim asks what is in flight, among all that was ever submitted.

CREATE INDEX stripe_submissions_in_flight ON billing.stripe_submissions (team_id, meter_id) WHERE state = 'in_flight';
