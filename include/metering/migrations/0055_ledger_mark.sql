-- A database that was restored from an older backup knows less than Stripe: a mark at both sides tells, and what Stripe has is
-- adopted before anything is sent again.

CREATE TABLE billing.stripe_ledger (
    only_one         boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    mark             bigint NOT NULL DEFAULT 0,
    epoch            bigint NOT NULL DEFAULT 0,
    mark_customer_id text,
    marked_at        timestamptz,
    behind_since     timestamptz
);
INSERT INTO billing.stripe_ledger DEFAULT VALUES;
COMMENT ON TABLE billing.stripe_ledger IS
    'One row. mark is one more with each claim, and is written at Stripe before anything of the claim is sent: where Stripe''s '
    'is higher, this database is older than what Stripe has. epoch is the mark of the last adoption; identifiers name it.';
COMMENT ON COLUMN billing.stripe_ledger.mark_customer_id IS
    'The customer at Stripe whose metadata carries the mark; nobody is billed by it.';
COMMENT ON COLUMN billing.stripe_ledger.marked_at IS 'When the mark was last moved, by Stripe''s side''s clock.';
COMMENT ON COLUMN billing.stripe_ledger.behind_since IS
    'Since when it is known that the database is behind Stripe; nothing is sent until `./billing stripe adopt`.';

ALTER TABLE billing.stripe_submissions ADD COLUMN adopted_at timestamptz;
COMMENT ON COLUMN billing.stripe_submissions.adopted_at IS
    'When this was taken over from Stripe''s own total, after a restore: it was not sent from what this database remembers.';
