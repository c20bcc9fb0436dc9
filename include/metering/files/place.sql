-- Statements of metering.files.place: how far the import of a file came.

-- name: take_turn
-- One import of a file at a time; until this session ends.
SELECT pg_try_advisory_lock(7010, hashtext(%(file)s::uuid::text)) AS taken;

-- name: leave
-- Another import of the file may begin.
SELECT pg_advisory_unlock(7010, hashtext(%(file)s::uuid::text));

-- name: begin
-- Where the import of this file by this map stands; a new one stands at its beginning.
INSERT INTO landing.file_imports (file_digest, map_digest, file_name, file_bytes)
VALUES (%(file)s, %(map)s, %(name)s, %(bytes)s)
ON CONFLICT (file_digest, map_digest) DO UPDATE SET file_name = excluded.file_name
RETURNING position, lines, read, accepted, duplicates, quarantined, updated_at, finished_at;

-- name: begin_again
-- From the beginning, as if it had never been imported; what has counted stays counted.
UPDATE landing.file_imports
SET position = 0, lines = 0, read = 0, accepted = 0, duplicates = 0, quarantined = 0, started_at = clock_timestamp(),
    updated_at = clock_timestamp(), finished_at = NULL
WHERE file_digest = %(file)s AND map_digest = %(map)s
RETURNING position, lines, read, accepted, duplicates, quarantined, updated_at, finished_at;

-- name: advance
-- A piece was committed.
UPDATE landing.file_imports
SET position = %(position)s, lines = %(lines)s, read = read + %(read)s, accepted = accepted + %(accepted)s,
    duplicates = duplicates + %(duplicates)s, quarantined = quarantined + %(quarantined)s, updated_at = clock_timestamp()
WHERE file_digest = %(file)s AND map_digest = %(map)s;

-- name: finish
-- All of it has been committed.
UPDATE landing.file_imports SET finished_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE file_digest = %(file)s AND map_digest = %(map)s;
