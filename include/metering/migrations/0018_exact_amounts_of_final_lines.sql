-- What a line came to before it was rounded stays known when its bill becomes final.
ALTER TABLE billing.finalized_bill_lines ADD COLUMN exact_amount numeric(60, 24);
COMMENT ON COLUMN billing.finalized_bill_lines.exact_amount IS
    'The amount before it was rounded; null for bills that became final before this was kept.';
