-- What version 2 of the state file adds: all that is billed, and what is told about it.

CREATE TABLE object (
    seq      INTEGER PRIMARY KEY,          -- order of creation: lists run newest first
    id       TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,                -- product, price, subscription, subscription_item, invoiceitem, invoice, ...
    customer TEXT,
    parent   TEXT,                         -- what it belongs to: the invoice of a line, the subscription of an item
    status   TEXT,
    created  INTEGER NOT NULL,             -- Unix seconds
    due_at   INTEGER,                      -- Unix seconds of the emulator's clock: when something happens to it by itself
    body     TEXT NOT NULL,                -- the API object as JSON, without what is embedded in replies
    private  TEXT NOT NULL DEFAULT '{}'    -- what the emulator knows of it and no reply shows
) STRICT;

CREATE INDEX object_by_kind ON object (kind, seq);
CREATE INDEX object_by_parent ON object (parent, kind, seq);
CREATE INDEX object_by_customer ON object (customer, kind, seq);
CREATE INDEX object_by_due ON object (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE event (
    seq     INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    type    TEXT NOT NULL,
    created INTEGER NOT NULL,              -- Unix seconds
    body    TEXT NOT NULL
) STRICT;

CREATE INDEX event_by_time ON event (created);

CREATE TABLE delivery (
    seq      INTEGER PRIMARY KEY,
    event    TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    due_at   INTEGER,                      -- Unix seconds of the emulator's clock; NULL when it is over
    attempts INTEGER NOT NULL DEFAULT 0,
    held     INTEGER NOT NULL DEFAULT 0,   -- waits until another event of its endpoint has gone
    status   TEXT NOT NULL DEFAULT 'pending',  -- pending, delivered, dropped, failed
    body     TEXT NOT NULL                 -- what is sent, as it was when the event happened
) STRICT;

CREATE INDEX delivery_by_due ON delivery (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_by_event ON delivery (event);
