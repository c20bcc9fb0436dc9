-- name: mine
-- The ledger's mark as this database has it.
SELECT mark, epoch, mark_customer_id, marked_at, behind_since FROM billing.stripe_ledger;

-- name: advance
-- One mark more, in the transaction that claims what is to be sent.
UPDATE billing.stripe_ledger SET mark = mark + 1, marked_at = %(now)s RETURNING mark, mark_customer_id;

-- name: keep_customer
-- Remember which customer carries the mark at Stripe.
UPDATE billing.stripe_ledger SET mark_customer_id = %(customer_id)s;

-- name: fell_behind
-- Stripe's mark is higher: note since when this is known.
UPDATE billing.stripe_ledger SET behind_since = coalesce(behind_since, clock_timestamp());

-- name: caught_up
-- It is not, or not any more.
UPDATE billing.stripe_ledger SET behind_since = NULL WHERE behind_since IS NOT NULL;

-- name: take_turn
-- Claims, and comparisons of marks, are made one at a time, also while Stripe is told the mark: so that marks only rise there.
SELECT pg_advisory_lock(7102);

-- name: end_turn
-- The end of it.
SELECT pg_advisory_unlock(7102);
