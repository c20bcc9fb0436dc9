-- A customer that was deleted at Stripe does not come back: another takes its place.

ALTER TABLE billing.stripe_customers ADD COLUMN replaced_at timestamptz;
COMMENT ON COLUMN billing.stripe_customers.replaced_at IS
    'When this customer took the place of one that was deleted at Stripe. What had been sent to that one is sent to this one, but '
    'for windows whose invoice was final by then.';
