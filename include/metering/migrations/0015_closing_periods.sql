-- What is due about a subscription that is over, after its last bill has become final, needs a bill to stand on.

ALTER TABLE billing.billing_periods ADD COLUMN takes_usage boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN billing.billing_periods.takes_usage IS
    'Whether usage is billed in it. Not so in a closing period, which comes after a subscription has ended, holds adjustments '
    'only, and exists only while something is due.';
