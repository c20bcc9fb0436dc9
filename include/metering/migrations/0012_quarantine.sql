-- Quarantine: what was done about what could not be counted, by whom. Nothing that was kept is overwritten.

ALTER TABLE landing.quarantined_events
    ADD COLUMN mended_payload text,
    ADD COLUMN last_reason text,
    ADD COLUMN last_field text,
    ADD COLUMN last_message text;
CREATE INDEX quarantined_events_by_team ON landing.quarantined_events (team_id, last_recorded_at, quarantine_digest);
COMMENT ON COLUMN landing.quarantined_events.payload IS 'What was sent, as it was sent.';
COMMENT ON COLUMN landing.quarantined_events.mended_payload IS 'What somebody made of it; sent in its place. Null: nobody did.';
COMMENT ON COLUMN landing.quarantined_events.last_reason IS
    'Why it could not be counted when it was last sent again; null: it was not. reason is why it came here.';
COMMENT ON COLUMN landing.quarantined_events.status IS
    'held; resent: it has counted since, or had before; discarded: somebody has decided that it is not to count.';
COMMENT ON COLUMN landing.batches.source IS 'http, file:<name>, or quarantine: sent again from there.';

CREATE TABLE landing.quarantine_actions (
    team_id           integer NOT NULL,
    quarantine_digest uuid NOT NULL,
    action_id         bigint GENERATED ALWAYS AS IDENTITY,
    acted_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    action            text NOT NULL CHECK (action IN ('mended', 'resent', 'discarded', 'restored')),
    actor             text NOT NULL,
    payload           text,
    outcome           text CHECK (outcome IN ('accepted', 'duplicate', 'quarantined')),
    reason            text,
    message           text,
    PRIMARY KEY (team_id, quarantine_digest, action_id),
    FOREIGN KEY (team_id, quarantine_digest) REFERENCES landing.quarantined_events,
    CHECK ((action = 'mended') = (payload IS NOT NULL)),
    CHECK ((action = 'resent') = (outcome IS NOT NULL))
);
COMMENT ON TABLE landing.quarantine_actions IS 'What was done about an event in quarantine, in the order in which it was done.';
COMMENT ON COLUMN landing.quarantine_actions.actor IS 'The API key by its hint, or the person at the command line.';
COMMENT ON COLUMN landing.quarantine_actions.payload IS 'What a mend made of the event.';
COMMENT ON COLUMN landing.quarantine_actions.outcome IS 'What became of the event when it was sent again.';
COMMENT ON COLUMN landing.quarantine_actions.reason IS 'Why it could not be counted then.';
COMMENT ON COLUMN landing.quarantine_actions.message IS 'The same as a sentence; of discarding, why somebody did.';
