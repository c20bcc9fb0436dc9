-- name: reserve
-- Reserve the next free moments for requests to Stripe, each 1/rate of a second after the one before; says in how many
-- seconds the first of them is. What nobody reserved in time is gone: pauses save up no burst.
INSERT INTO billing.stripe_rate AS rate (bucket, next_at)
VALUES (%(bucket)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (bucket) DO UPDATE
SET next_at = greatest(rate.next_at, clock_timestamp()) + make_interval(secs => %(seconds)s)
RETURNING greatest(extract(epoch FROM next_at - make_interval(secs => %(seconds)s) - clock_timestamp()), 0)::float8 AS wait;

-- name: slow_down
-- Stripe said that it is asked too fast: no moment is given out that lies within so many seconds from now.
UPDATE billing.stripe_rate
SET next_at = greatest(next_at, clock_timestamp() + make_interval(secs => %(seconds)s))
WHERE bucket = %(bucket)s;
