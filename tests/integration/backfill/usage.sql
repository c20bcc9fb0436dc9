-- Two teams in two zones, two meters, one plan with a graduated price, and usage of July and August 2026.
INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES
    ('delhi', 'Delhi', 'Asia/Kolkata'), ('lisbon', 'Lisbon', 'Europe/Lisbon');
INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit, dimensions) VALUES
    ('calls', 'Calls', 'api.call', 'count', 'call', '{endpoint}'), ('storage', 'Storage', 'storage', 'sum', 'GB-hour', '{}');
INSERT INTO billing.plans (plan_key, plan_name) VALUES ('standard', 'Standard');
INSERT INTO billing.prices (price_key, price_name, plan_id, meter_id, currency) VALUES
    ('calls-usd', 'Calls', 1, 1, 'USD'), ('storage-usd', 'Storage', 1, 2, 'USD');
INSERT INTO billing.price_versions (price_id, effective_from, model, charge_unit, per_period_hour) VALUES
    (1, '2026-01-01Z', 'graduated', 'call', false), (2, '2026-01-01Z', 'per_unit', 'GB-month', true);
INSERT INTO billing.price_tiers (price_version_id, tier, over, up_to, unit_amount) VALUES
    (1, 1, 0, 100, 0.01), (1, 2, 100, NULL, 0.0035), (2, 1, 0, NULL, 1.37);
INSERT INTO billing.subscriptions (team_id, currency, time_zone, starts_at)
SELECT team_id, 'USD', time_zone, '2026-06-30 00:00Z' FROM billing.teams;
INSERT INTO billing.subscription_plans (team_id, effective_from, plan_id)
SELECT team_id, '2026-06-30 00:00Z', 1 FROM billing.teams;
SELECT landing.ensure_months(ARRAY['2026-06-01Z', '2026-07-01Z', '2026-08-01Z']::timestamptz[]);

-- Events to land: 600 over 50 days, one in eight of them late.
CREATE TABLE public.to_land AS
SELECT
    1 + number % 2 AS team_id,
    timestamptz '2026-07-05 00:07Z' + number * interval '2 hours' AS occurred_at,
    md5(number::text)::uuid AS key_digest,
    CASE WHEN number % 3 = 0 THEN 'storage' ELSE 'api.call' END AS event_name,
    CASE WHEN number % 3 = 0 THEN (number % 17) * 3.125 ELSE 1 END AS quantity,
    CASE WHEN number % 3 = 0 THEN '{}'::jsonb ELSE jsonb_build_object('endpoint', '/' || number % 4) END AS properties,
    number % 8 = 0 AS late
FROM generate_series(1, 600) AS number;
