-- Two teams in two zones, two meters, one plan, subscriptions since before 2025.
INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES
    ('acme', 'Acme', 'UTC'), ('delhi', 'Delhi', 'Asia/Kolkata');
INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit, dimensions) VALUES
    ('calls', 'Calls', 'call', 'count', 'call', '{endpoint}'), ('storage', 'Storage', 'storage', 'sum', 'GB-hour', '{}');
INSERT INTO billing.plans (plan_key, plan_name) VALUES ('standard', 'Standard');
INSERT INTO billing.prices (price_key, price_name, plan_id, meter_id, currency) VALUES
    ('calls-usd', 'Calls', 1, 1, 'USD'), ('storage-usd', 'Storage', 1, 2, 'USD');
INSERT INTO billing.price_versions (price_id, effective_from, model, charge_unit, per_period_hour) VALUES
    (1, '2024-01-01Z', 'graduated', 'call', false), (2, '2024-01-01Z', 'per_unit', 'GB-month', true);
INSERT INTO billing.price_tiers (price_version_id, tier, over, up_to, unit_amount) VALUES
    (1, 1, 0, 10, 0.01), (1, 2, 10, NULL, 0.0035), (2, 1, 0, NULL, 1.37);
INSERT INTO billing.subscriptions (team_id, currency, time_zone, starts_at, ends_at)
SELECT team_id, 'USD', time_zone, '2024-12-31 00:00Z', '2025-04-01 00:00Z' FROM billing.teams;
INSERT INTO billing.subscription_plans (team_id, effective_from, plan_id)
SELECT team_id, '2024-12-31 00:00Z', 1 FROM billing.teams;
