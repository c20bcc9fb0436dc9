-- Imports of files: how far each one came, so that an interrupted one goes on from there.

CREATE TABLE landing.file_imports (
    file_digest uuid NOT NULL,
    map_digest  uuid NOT NULL,
    file_name   text NOT NULL,
    file_bytes  bigint NOT NULL,
    position    bigint NOT NULL DEFAULT 0,
    lines       bigint NOT NULL DEFAULT 0,
    read        bigint NOT NULL DEFAULT 0,
    accepted    bigint NOT NULL DEFAULT 0,
    duplicates  bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (file_digest, map_digest)
);
CREATE INDEX file_imports_updated_at ON landing.file_imports (updated_at);
COMMENT ON TABLE landing.file_imports IS
    'Each file that was imported, by what it holds and by the map that it was read with. The place is written after the '
    'events before it have been committed, so it may lag behind them and never runs ahead; that nothing counts twice is the '
    'work of landing.event_keys.';
COMMENT ON COLUMN landing.file_imports.file_digest IS 'The first 16 bytes of the SHA-256 of the file, whatever its name.';
COMMENT ON COLUMN landing.file_imports.map_digest IS 'The same of what the map says; another map makes other events of it.';
COMMENT ON COLUMN landing.file_imports.position IS 'Bytes of the unpacked content, or rows of a Parquet file, that were landed.';
COMMENT ON COLUMN landing.file_imports.lines IS 'Lines, or rows, up to the position.';
