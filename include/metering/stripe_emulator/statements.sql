-- name: setting
-- One setting's value.
SELECT value FROM setting WHERE name = :name;

-- name: set_setting
-- Keep a setting, replacing its value.
INSERT INTO setting (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: add_customer
-- A new customer, as the API object that replies show.
INSERT INTO customer (id, body) VALUES (:id, :body);

-- name: customer
-- One customer, deleted or not.
SELECT seq, id, deleted, body FROM customer WHERE id = :id;

-- name: customers
-- All customers that are not deleted, newest first.
SELECT id, body FROM customer WHERE deleted = 0 ORDER BY seq DESC;

-- name: change_customer
-- Replace a customer's object.
UPDATE customer SET body = :body, deleted = :deleted WHERE id = :id;

-- name: add_meter
-- A new meter, active.
INSERT INTO meter (id, event_name, status, body) VALUES (:id, :event_name, 'active', :body);

-- name: meter
-- One meter by its id.
SELECT id, status, body FROM meter WHERE id = :id;

-- name: meters
-- All meters, newest first.
SELECT id, status, body FROM meter ORDER BY seq DESC;

-- name: meter_of_event_name
-- The meter an event goes to: the active one, else the newest archived one.
SELECT id, status, body FROM meter WHERE event_name = :event_name
ORDER BY status = 'active' DESC, seq DESC LIMIT 1;

-- name: change_meter
-- Replace a meter's object and status.
UPDATE meter SET status = :status, body = :body WHERE id = :id;

-- name: add_meter_event
-- A received event, counted or refused by asynchronous validation.
INSERT INTO meter_event
    (identifier, event_name, meter_id, customer_id, value, timestamp, received_at, refused)
VALUES
    (:identifier, :event_name, :meter_id, :customer_id, :value, :timestamp, :received_at, :refused);

-- name: remembered_identifier
-- Whether an identifier was received after a moment.
SELECT 1 FROM meter_event WHERE identifier = :identifier AND received_at > :after LIMIT 1;

-- name: event_to_cancel
-- The newest event with this identifier and name.
SELECT seq, received_at, cancelled_at FROM meter_event
WHERE identifier = :identifier AND event_name = :event_name ORDER BY seq DESC LIMIT 1;

-- name: cancel_meter_event
-- Take an event out of every later summary.
UPDATE meter_event SET cancelled_at = :now WHERE seq = :seq;

-- name: usage
-- The counted events of a customer on a meter: start inclusive, end exclusive, received by a moment.
SELECT seq, timestamp, value FROM meter_event
WHERE meter_id = :meter_id AND customer_id = :customer_id
  AND timestamp >= :start AND timestamp < :end
  AND received_at <= :received_by
  AND refused IS NULL AND cancelled_at IS NULL
ORDER BY seq;

-- name: add_meter_error
-- What asynchronous validation found wrong with an event.
INSERT INTO meter_error (meter_id, code, message, idempotency_key, at)
VALUES (:meter_id, :code, :message, :idempotency_key, :at);

-- name: meter_errors
-- The findings of a span of time, in order.
SELECT seq, meter_id, code, message, idempotency_key, at FROM meter_error
WHERE at >= :since AND at < :before ORDER BY seq;

-- name: saved_reply
-- What an idempotency key answered, if it is still remembered.
SELECT path, digest, status, body, request_id FROM saved_reply
WHERE api = :api AND key = :key AND saved_at > :after;

-- name: save_reply
-- Remember an answer. Replaces one that is too old to be found.
INSERT OR REPLACE INTO saved_reply (api, key, path, digest, status, body, request_id, saved_at)
VALUES (:api, :key, :path, :digest, :status, :body, :request_id, :saved_at);

-- name: add_session
-- A token for the event stream.
INSERT INTO session (token, expires_at) VALUES (:token, :expires_at);

-- name: session
-- When a stream token expires.
SELECT expires_at FROM session WHERE token = :token;

-- name: counts
-- How full the state is.
SELECT
    (SELECT count(*) FROM customer WHERE deleted = 0) AS customers,
    (SELECT count(*) FROM meter) AS meters,
    (SELECT count(*) FROM meter_event) AS meter_events,
    (SELECT count(*) FROM meter_event WHERE refused IS NOT NULL) AS meter_events_refused,
    (SELECT count(*) FROM meter_event WHERE cancelled_at IS NOT NULL) AS meter_events_cancelled;
