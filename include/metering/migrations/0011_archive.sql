-- Archived months: where the events of a month are that left landing.usage_events, and what keeps it from being billed by less.

CREATE TABLE landing.archived_months (
    month       date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    state       text NOT NULL CHECK (state IN ('detached', 'dropped', 'restored')),
    folder      text NOT NULL,
    manifest    jsonb NOT NULL,
    detached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dropped_at  timestamptz,
    restored_at timestamptz
);
COMMENT ON TABLE landing.archived_months IS
    'Months (UTC) of events that were archived. detached: the events are in Parquet and in landing.archived_events_YYYY_MM, which '
    'is no partition any more. dropped: in Parquet only. restored: they are a partition again. Keys are never archived.';

CREATE TABLE landing.archive_needs (
    month    date NOT NULL REFERENCES landing.archived_months,
    meter_id integer NOT NULL REFERENCES billing.meters,
    since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (month, meter_id)
);
COMMENT ON TABLE landing.archive_needs IS
    'Meters that are newer than an archived month in which there is an event that they count. They count it once the month has '
    'been restored.';

CREATE FUNCTION landing.archived_month_of(moment timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT to_char(month, 'YYYY-MM') FROM landing.archived_months
    WHERE state <> 'restored' AND moment >= starts_at AND moment < ends_at
$$;
COMMENT ON FUNCTION landing.archived_month_of(timestamptz) IS 'The archived month in which a moment lies, such as 2025-01, or null.';

-- An event that is new cannot join a month that is not there. Class 22 says that the value is what is wrong, not the server: landing
-- keeps the event in quarantine with this sentence. One that had counted before is a duplicate and never comes this far.
CREATE FUNCTION landing.refuse_event() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '22A01', MESSAGE = format(
        'Its month %1$s is archived; run `./billing archive restore %1$s` and send it again',
        landing.archived_month_of(NEW.occurred_at));
END $$;
COMMENT ON FUNCTION landing.refuse_event() IS 'Refuses each row of the empty partition that keeps the place of an archived month.';

CREATE FUNCTION landing.refuse_withdrawal() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    archived text := landing.archived_month_of(NEW.occurred_at);
BEGIN
    IF archived IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22A01', MESSAGE = format(
            'The event is of %1$s, which is archived; run `./billing archive restore %1$s` and withdraw it again.', archived);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_archived BEFORE INSERT ON landing.event_withdrawals
FOR EACH ROW EXECUTE FUNCTION landing.refuse_withdrawal();

-- Whoever queues a quarter-hour asks for it to be counted again from events that are not there: it would become nothing.
CREATE FUNCTION landing.refuse_bucket() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    archived text;
BEGIN
    SELECT to_char(months.month, 'YYYY-MM') INTO archived
    FROM landing.archived_months AS months
    WHERE months.state <> 'restored'
        AND EXISTS (
            SELECT FROM queued WHERE queued.bucket_start >= months.starts_at AND queued.bucket_start < months.ends_at)
    LIMIT 1;
    IF archived IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22A01', MESSAGE = format(
            'Usage of %1$s can''t be computed again, because the month is archived; run `./billing archive restore %1$s` first.',
            archived);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION landing.refuse_bucket() IS
    'Refuses quarter-hours of archived months in the queue of metering, by whatever way they come there.';
CREATE TRIGGER refuse_archived_inserted AFTER INSERT ON billing.buckets_to_meter REFERENCING NEW TABLE AS queued
FOR EACH STATEMENT EXECUTE FUNCTION landing.refuse_bucket();

CREATE FUNCTION landing.why_not_archivable(starts timestamptz, ends timestamptz) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    metered_until timestamptz := (SELECT coalesce(max(recorded_until), '-infinity') FROM billing.metering_runs WHERE closed_at IS NOT NULL);
    found text;
BEGIN
    SELECT 'the bill of ' || teams.team_key || ' for ' || periods.period_label || ' is not final' INTO found
    FROM billing.billing_periods AS periods
    JOIN billing.teams AS teams USING (team_id)
    WHERE periods.finalized_at IS NULL AND periods.period_start < ends AND periods.period_end > starts
    ORDER BY periods.period_start, teams.team_key LIMIT 1;
    IF found IS NOT NULL THEN RETURN found; END IF;

    SELECT 'quarter-hours of it wait to be metered' INTO found
    FROM billing.buckets_to_meter WHERE bucket_start >= starts AND bucket_start < ends LIMIT 1;
    IF found IS NOT NULL THEN RETURN found; END IF;

    SELECT 'events of it wait to be metered' INTO found
    FROM landing.usage_events
    WHERE occurred_at >= starts AND occurred_at < ends AND recorded_at > metered_until LIMIT 1;
    IF found IS NOT NULL THEN RETURN found; END IF;

    SELECT 'withdrawals of its events wait to be metered' INTO found
    FROM landing.event_withdrawals
    WHERE occurred_at >= starts AND occurred_at < ends AND recorded_at > metered_until LIMIT 1;
    IF found IS NOT NULL THEN RETURN found; END IF;

    SELECT teams.team_key || ' is on hold' INTO found
    FROM billing.holds AS holds
    JOIN billing.teams AS teams USING (team_id)
    WHERE holds.released_at IS NULL AND EXISTS (
        SELECT FROM landing.usage_events AS events
        WHERE events.team_id = holds.team_id AND events.occurred_at >= starts AND events.occurred_at < ends)
    ORDER BY teams.team_key LIMIT 1;
    RETURN found;
END $$;
COMMENT ON FUNCTION landing.why_not_archivable(timestamptz, timestamptz) IS
    'Why a month may not be archived yet, as the second half of a sentence; null if it may: all of it is billed and nothing waits.';

CREATE FUNCTION landing.detach_month(of_month date, recorded_until timestamptz, into_folder text, its_manifest jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    starts timestamptz := of_month::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (of_month + interval '1 month') AT TIME ZONE 'UTC';
    partition text := 'usage_events_' || to_char(of_month, 'YYYY_MM');
    moved_to text := 'archived_events_' || to_char(of_month, 'YYYY_MM');
    reason text;
    came_later boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(7003);  -- no metering run opens meanwhile
    PERFORM pg_advisory_xact_lock(7002);  -- nobody makes partitions meanwhile
    LOCK TABLE landing.usage_events IN ACCESS EXCLUSIVE MODE;
    reason := landing.why_not_archivable(starts, ends);
    IF reason IS NOT NULL THEN RETURN reason; END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM landing.%I WHERE recorded_at > $1)', partition)
        INTO came_later USING recorded_until;
    IF came_later THEN RETURN 'events of it came while it was being archived'; END IF;
    EXECUTE format('ALTER TABLE landing.usage_events DETACH PARTITION landing.%I', partition);
    EXECUTE format('ALTER TABLE landing.%I RENAME TO %I', partition, moved_to);
    EXECUTE format('CREATE TABLE landing.%I PARTITION OF landing.usage_events FOR VALUES FROM (%L) TO (%L)',
                   partition, starts, ends);
    EXECUTE format('CREATE TRIGGER refuse_archived BEFORE INSERT ON landing.%I FOR EACH ROW EXECUTE FUNCTION landing.refuse_event()',
                   partition);
    INSERT INTO landing.archived_months (month, starts_at, ends_at, state, folder, manifest)
    VALUES (of_month, starts, ends, 'detached', into_folder, its_manifest)
    ON CONFLICT (month) DO UPDATE SET
        state = 'detached', folder = excluded.folder, manifest = excluded.manifest, detached_at = clock_timestamp(),
        dropped_at = NULL, restored_at = NULL;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION landing.detach_month(date, timestamptz, text, jsonb) IS
    'Takes a month out of landing.usage_events, of which everything recorded until then is in the manifest; an empty partition that '
    'refuses rows keeps its place. Returns why not, or null. All or nothing, in the transaction of the caller.';

CREATE FUNCTION landing.drop_archived(of_month date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS landing.%I', 'archived_events_' || to_char(of_month, 'YYYY_MM'));
    UPDATE landing.archived_months SET state = 'dropped', dropped_at = clock_timestamp()
    WHERE month = of_month AND state = 'detached';
END $$;
COMMENT ON FUNCTION landing.drop_archived(date) IS 'Drops the events of a detached month from the database; they are in its files.';

CREATE FUNCTION landing.make_archived(of_month date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE landing.%I (LIKE landing.usage_events INCLUDING ALL)',
                   'archived_events_' || to_char(of_month, 'YYYY_MM'));
    UPDATE landing.archived_months SET state = 'detached', dropped_at = NULL WHERE month = of_month AND state = 'dropped';
END $$;
COMMENT ON FUNCTION landing.make_archived(date) IS 'Makes the table of a dropped month again, for its files to be loaded into.';

CREATE FUNCTION landing.attach_month(of_month date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    starts timestamptz := of_month::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (of_month + interval '1 month') AT TIME ZONE 'UTC';
    partition text := 'usage_events_' || to_char(of_month, 'YYYY_MM');
    moved_to text := 'archived_events_' || to_char(of_month, 'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(7003);
    PERFORM pg_advisory_xact_lock(7002);
    -- Proved before the lock that stops everybody, so that attaching need not look at the rows.
    EXECUTE format('ALTER TABLE landing.%I ADD CONSTRAINT of_its_month CHECK (occurred_at >= %L AND occurred_at < %L)',
                   moved_to, starts, ends);
    LOCK TABLE landing.usage_events IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE landing.%I', partition);
    EXECUTE format('ALTER TABLE landing.%I RENAME TO %I', moved_to, partition);
    EXECUTE format('ALTER TABLE landing.usage_events ATTACH PARTITION landing.%I FOR VALUES FROM (%L) TO (%L)',
                   partition, starts, ends);
    EXECUTE format('ALTER TABLE landing.%I DROP CONSTRAINT of_its_month', partition);
    UPDATE landing.archived_months SET state = 'restored', restored_at = clock_timestamp() WHERE month = of_month;
END $$;
COMMENT ON FUNCTION landing.attach_month(date) IS 'Makes a detached month a partition again. All or nothing.';
