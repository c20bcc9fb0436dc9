-- Bill lines are made of the tiers that a run has stored: these say what else a line needs. A run that rates a period stores them.
ALTER TABLE IF EXISTS marts.fct_rated_usage
    ADD COLUMN IF NOT EXISTS quantity numeric(38, 12),
    ADD COLUMN IF NOT EXISTS event_count bigint,
    ADD COLUMN IF NOT EXISTS stretch_from timestamptz,
    ADD COLUMN IF NOT EXISTS stretch_days numeric(38, 12),
    ADD COLUMN IF NOT EXISTS segment_days numeric(38, 12),
    ADD COLUMN IF NOT EXISTS cycle_days numeric(38, 12);

ALTER TABLE billing.periods_to_rate ADD COLUMN IF NOT EXISTS whole boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN billing.periods_to_rate.whole IS
    'Whether all usage of the period is looked at again, since its prices changed; if not, what lies in queued quarter-hours.';
