-- Whether somebody still works on what is in flight, asked in one way by all.

CREATE FUNCTION billing.lease_is_over(lease_owner text, lease_until timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT lease_until IS NULL OR lease_until < clock_timestamp() OR NOT EXISTS (
        -- Another role's session shows its pid only: then it is taken to be the owner.
        SELECT FROM pg_stat_activity
        WHERE pid = split_part(lease_owner, '@', 1)::integer
          AND (backend_start IS NULL OR pid || '@' || extract(epoch FROM backend_start) = lease_owner))
$$;
COMMENT ON FUNCTION billing.lease_is_over(text, timestamptz) IS
    'True where a lease has run out, or the database session that took it is gone: others may go on with what it was for.';
