-- The emulator's whole state. Quantities are text, so that no digit passes through a double.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE customer (
    seq     INTEGER PRIMARY KEY,           -- order of creation: lists run newest first
    id      TEXT NOT NULL UNIQUE,
    deleted INTEGER NOT NULL DEFAULT 0,
    body    TEXT NOT NULL                  -- the API object as JSON
) STRICT;

CREATE TABLE meter (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    event_name TEXT NOT NULL,
    status     TEXT NOT NULL,
    body       TEXT NOT NULL
) STRICT;

CREATE INDEX meter_by_event_name ON meter (event_name);

CREATE TABLE meter_event (
    seq          INTEGER PRIMARY KEY,      -- order of receipt
    identifier   TEXT NOT NULL,            -- not unique: Stripe forgets it after a day
    event_name   TEXT NOT NULL,
    meter_id     TEXT,
    customer_id  TEXT,
    value        TEXT NOT NULL,            -- exact decimal
    timestamp    INTEGER NOT NULL,         -- Unix seconds, the event's own time
    received_at  INTEGER NOT NULL,         -- Unix seconds, the emulator's clock
    refused      TEXT,                     -- code found by asynchronous validation: the event counts nowhere
    cancelled_at INTEGER
) STRICT;

CREATE INDEX meter_event_by_identifier ON meter_event (identifier, received_at);
CREATE INDEX meter_event_by_usage ON meter_event (meter_id, customer_id, timestamp);

CREATE TABLE meter_error (
    seq             INTEGER PRIMARY KEY,
    meter_id        TEXT,                  -- NULL: no meter has this event name
    code            TEXT NOT NULL,
    message         TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    at              INTEGER NOT NULL       -- Unix seconds
) STRICT;

CREATE INDEX meter_error_by_time ON meter_error (at);

CREATE TABLE saved_reply (
    api        TEXT NOT NULL,              -- v1 and v2 remember differently
    key        TEXT NOT NULL,
    path       TEXT NOT NULL,              -- method and path of the first use
    digest     TEXT NOT NULL,              -- SHA-256 of its parameters
    status     INTEGER NOT NULL,
    body       BLOB NOT NULL,
    request_id TEXT NOT NULL,
    saved_at   INTEGER NOT NULL,           -- Unix seconds
    PRIMARY KEY (api, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    token      TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL            -- Unix seconds
) STRICT;
