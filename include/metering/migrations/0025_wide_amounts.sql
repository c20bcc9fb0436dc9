-- Quantities and amounts may have a hundred digits: what one team's usage comes to must not stop the bills of all others. No sum of
-- what landing takes fills them, whatever it is multiplied by.
DO $$
DECLARE
    wide record;
    dependent text;
    -- The one view among them that no model makes again.
    states text := pg_get_viewdef('billing.stripe_window_states');
    states_said text := obj_description('billing.stripe_window_states'::regclass);
BEGIN
    FOR wide IN
        SELECT name, columns FROM (VALUES
            ('intermediate.int_usage_buckets', '{quantity}'::text[]),
            ('marts.fct_usage_hourly', '{quantity}'),
            ('marts.fct_usage_daily', '{quantity}'),
            ('marts.fct_usage_monthly', '{quantity}'),
            ('marts.fct_rated_usage', '{quantity, tier_quantity, usage_amount, fixed_amount, billed_units}'),
            ('marts.fct_stripe_usage', '{quantity}'),
            ('marts.fct_reconciliation', '{
                landed_quantity, metered_quantity, rated_quantity, billed_quantity, ledger_quantity, submitted_quantity, stripe_quantity,
                rated_amount, billed_amount, landed_minus_metered, metered_minus_rated, rated_minus_billed, rated_minus_billed_amount,
                billed_minus_ledger, ledger_minus_submitted, submitted_minus_stripe}'),
            ('billing.finalized_bills', '{total}'),
            ('billing.finalized_bill_lines', '{quantity, charge_quantity, amount, exact_amount}'),
            ('billing.gated_bills', '{total}'),
            ('billing.alert_events', '{observed}'),
            ('billing.stripe_targets', '{quantity}'),
            ('billing.stripe_observations', '{stripe_quantity, ledger_quantity, open_quantity, target_quantity}')
        ) AS given (name, columns)
        WHERE to_regclass(name) IS NOT NULL
    LOOP
        -- Views that read them are in the way, and are made again when the models are deployed.
        FOREACH dependent IN ARRAY coalesce((
            SELECT array_agg(DISTINCT pg_rewrite.ev_class::regclass::text)
            FROM pg_depend
            JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
            JOIN pg_class ON pg_class.oid = pg_rewrite.ev_class AND pg_class.relkind = 'v'
            WHERE pg_depend.classid = 'pg_rewrite'::regclass AND pg_depend.refobjid = wide.name::regclass
        ), '{}')
        LOOP
            EXECUTE format('DROP VIEW IF EXISTS %s CASCADE', dependent);
        END LOOP;
        -- More digits before the point, as many after it: the tables are not written again.
        EXECUTE (
            SELECT format('ALTER TABLE %s %s', wide.name, string_agg(
                format('ALTER COLUMN %I TYPE numeric(100, %s)', attname, (atttypmod - 4) & 65535), ', '))
            FROM pg_attribute
            WHERE attrelid = wide.name::regclass AND attname = ANY (wide.columns) AND atttypmod > 0
            HAVING count(*) > 0
        );
    END LOOP;
    EXECUTE 'CREATE VIEW billing.stripe_window_states AS ' || states;
    EXECUTE format('COMMENT ON VIEW billing.stripe_window_states IS %L', states_said);
END $$;
