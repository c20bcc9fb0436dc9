-- Batches of long ago are merged.
COMMENT ON TABLE landing.batches IS
    'One row a committed group of events; of those that came over HTTP and were metered long ago, one a run and its months. '
    'recorded_at is taken while holding the landing lock in shared mode, so that whoever takes that lock exclusively knows a '
    'moment before which everything has been committed: landing.take_horizon().';
COMMENT ON COLUMN landing.usage_events.batch_id IS 'Its batch. One that is not there any more was merged, and came over HTTP.';
