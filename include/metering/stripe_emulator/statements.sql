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

-- name: next_meter_error
-- When asynchronous validation found something first, from a moment on.
SELECT min(at) AS at FROM meter_error WHERE at >= :since;

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
    (SELECT count(*) FROM meter_event WHERE cancelled_at IS NOT NULL) AS meter_events_cancelled,
    (SELECT count(*) FROM object WHERE kind = 'subscription' AND status <> 'canceled') AS subscriptions,
    (SELECT count(*) FROM object WHERE kind = 'invoice') AS invoices,
    (SELECT count(*) FROM object WHERE kind = 'invoice' AND status = 'draft') AS invoices_draft,
    (SELECT count(*) FROM event) AS events,
    (SELECT count(*) FROM delivery WHERE due_at IS NOT NULL) AS deliveries_due;

-- name: add_object
-- A new object of any kind.
INSERT INTO object (id, kind, customer, parent, status, created, due_at, body, private)
VALUES (:id, :kind, :customer, :parent, :status, :created, :due_at, :body, :private);

-- name: object
-- One object of a kind by its id.
SELECT id, kind, customer, parent, status, created, due_at, body, private FROM object WHERE id = :id AND kind = :kind;

-- name: change_object
-- Replace what changes of an object.
UPDATE object SET parent = :parent, status = :status, due_at = :due_at, body = :body, private = :private
WHERE id = :id;

-- name: remove_object
-- Forget an object.
DELETE FROM object WHERE id = :id;

-- name: objects_of_kind
-- Every object of a kind, newest first.
SELECT id, customer, parent, status, created, body FROM object WHERE kind = :kind ORDER BY seq DESC;

-- name: objects_of_parent
-- What belongs to an object, of one kind, newest first.
SELECT id, customer, parent, status, created, body FROM object
WHERE parent = :parent AND kind = :kind ORDER BY seq DESC;

-- name: objects_of_customer
-- What a customer has of a kind, newest first.
SELECT id, customer, parent, status, created, body FROM object
WHERE customer = :customer AND kind = :kind ORDER BY seq DESC;

-- name: next_due
-- The first thing that will happen by itself, and when.
SELECT id, kind, due_at FROM object WHERE due_at IS NOT NULL ORDER BY due_at, seq LIMIT 1;

-- name: add_event
-- Something that happened, with the object as it was then.
INSERT INTO event (id, type, created, body) VALUES (:id, :type, :created, :body);

-- name: event
-- One event that is not too old to be read.
SELECT id, type, created, body FROM event WHERE id = :id AND created > :since;

-- name: events
-- The events that are not too old to be read, newest first.
SELECT id, type, created FROM event WHERE created > :since ORDER BY seq DESC;

-- name: pending_webhooks
-- How many deliveries of an event are outstanding.
SELECT count(*) AS outstanding FROM delivery WHERE event = :event AND status = 'pending';

-- name: undelivered_events
-- The events that an endpoint has not answered well.
SELECT DISTINCT event FROM delivery WHERE status IN ('pending', 'failed');

-- name: add_delivery
-- An event on its way to an endpoint.
INSERT INTO delivery (event, endpoint, due_at, held, status, body)
VALUES (:event, :endpoint, :due_at, :held, :status, :body);

-- name: release_held
-- What waits for another event of its endpoint goes right after it.
UPDATE delivery SET due_at = :due_at
WHERE endpoint = :endpoint AND held = 1 AND status = 'pending' AND attempts = 0;

-- name: next_delivery
-- The first delivery that is due, and when: at one moment in order of their events, the held ones last.
SELECT seq, event, endpoint, due_at, attempts, body FROM delivery
WHERE due_at IS NOT NULL ORDER BY due_at, held, seq LIMIT 1;

-- name: change_delivery
-- What came of an attempt.
UPDATE delivery SET due_at = :due_at, attempts = :attempts, status = :status WHERE seq = :seq;

-- name: unanswered_deliveries
-- The deliveries of an event that no endpoint has answered well yet.
SELECT count(*) AS outstanding FROM delivery WHERE event = :event AND status IN ('pending', 'failed');
