-- Lines of bills show what they say and no zeros after it: amounts the decimals of their currency, quantities their own.
DO $$
DECLARE
    dependent text;
BEGIN
    IF to_regclass('marts.fct_bill_lines') IS NULL THEN
        RETURN;
    END IF;
    -- Views that read them are in the way, and are made again when the models are deployed.
    FOREACH dependent IN ARRAY coalesce((
        SELECT array_agg(DISTINCT pg_rewrite.ev_class::regclass::text)
        FROM pg_depend
        JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
        JOIN pg_class ON pg_class.oid = pg_rewrite.ev_class AND pg_class.relkind = 'v'
        WHERE pg_depend.classid = 'pg_rewrite'::regclass AND pg_depend.refobjid = 'marts.fct_bill_lines'::regclass
    ), '{}')
    LOOP
        EXECUTE format('DROP VIEW IF EXISTS %s CASCADE', dependent);
    END LOOP;
    ALTER TABLE marts.fct_bill_lines
        ALTER COLUMN quantity TYPE numeric USING trim_scale(quantity),
        ALTER COLUMN charge_quantity TYPE numeric USING trim_scale(charge_quantity),
        ALTER COLUMN amount TYPE numeric,
        ALTER COLUMN exact_amount TYPE numeric USING trim_scale(exact_amount);
    UPDATE marts.fct_bill_lines AS lines SET amount = round(lines.amount, currencies.exponent)
    FROM billing.currencies AS currencies
    WHERE currencies.currency = lines.currency;
END $$;
