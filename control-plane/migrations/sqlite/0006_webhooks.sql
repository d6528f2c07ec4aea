-- Webhooks, what could not be delivered at once, and what came of the last tries. All of it goes with the thing.

CREATE TABLE webhooks (
    id                BLOB    NOT NULL PRIMARY KEY,
    thing_id          BLOB    NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    name              TEXT    NOT NULL,
    -- registry::webhooks::Format::code.
    format            INTEGER NOT NULL,
    url               TEXT    NOT NULL,
    sealed_secret     BLOB    NOT NULL,
    -- The secret before it, empty if there is none, and until when it signs beside the new one.
    sealed_old_secret BLOB    NOT NULL,
    old_secret_until  INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    -- What was received before is not delivered: since when it is there, or enabled again.
    active_since      INTEGER NOT NULL,
    -- registry::webhooks::Disabled::code, 0 while it is enabled.
    disabled          INTEGER NOT NULL DEFAULT 0,
    disabled_at       INTEGER NOT NULL DEFAULT 0,
    -- Counters. attempts numbers the tries, and so their places among the last ones.
    attempts          INTEGER NOT NULL DEFAULT 0,
    delivered         INTEGER NOT NULL DEFAULT 0,
    failed            INTEGER NOT NULL DEFAULT 0,
    expired           INTEGER NOT NULL DEFAULT 0,
    dropped           INTEGER NOT NULL DEFAULT 0,
    last_delivered_at INTEGER NOT NULL DEFAULT 0,
    last_failed_at    INTEGER NOT NULL DEFAULT 0,
    -- Tries that failed since the last that did not, and since when; nothing is tried before hold_until.
    failures          INTEGER NOT NULL DEFAULT 0,
    failing_since     INTEGER NOT NULL DEFAULT 0,
    hold_until        INTEGER NOT NULL DEFAULT 0,
    -- 1 if that is only because each that waits has a next_try_at of its own.
    steps_aside       INTEGER NOT NULL DEFAULT 0,
    -- Until then one process delivers what is kept, and no other.
    lease_until       INTEGER NOT NULL DEFAULT 0,
    next_delivery     INTEGER NOT NULL DEFAULT 0,
    -- Of its rows in webhook_deliveries, changed with them.
    pending_count     INTEGER NOT NULL DEFAULT 0,
    pending_bytes     INTEGER NOT NULL DEFAULT 0,
    expired_count     INTEGER NOT NULL DEFAULT 0,
    expired_bytes     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_by_thing ON webhooks (thing_id);
CREATE INDEX webhooks_with_pending ON webhooks (hold_until) WHERE pending_count > 0;

-- Deliveries that wait for another try (state 0), in their order, or were given up and can be replayed (state 1).
CREATE TABLE webhook_deliveries (
    webhook_id  BLOB    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    state       INTEGER NOT NULL,
    format      INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    bytes       INTEGER NOT NULL,
    records     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    next_try_at INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    -- When it is given up, and then, when it is deleted.
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, seq),
    UNIQUE (webhook_id, id)
);
CREATE INDEX webhook_deliveries_by_end ON webhook_deliveries (state, expires_at);

-- The last tries of each webhook: a ring, so that nothing has to be trimmed.
CREATE TABLE webhook_attempts (
    webhook_id   BLOB    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    slot         INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    delivery_id  BLOB    NOT NULL,
    -- delivery::Outcome::code.
    outcome      INTEGER NOT NULL,
    -- What HTTP said, 0 if nothing.
    status       INTEGER NOT NULL,
    latency      INTEGER NOT NULL,
    next_try_at  INTEGER NOT NULL,
    records      INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    excerpt      TEXT    NOT NULL,
    PRIMARY KEY (webhook_id, slot)
) WITHOUT ROWID;

-- Things whose webhooks changed, each with the number of its last change: who delivers reads what is new. Rows stay, so that
-- a deletion is read, too.
CREATE TABLE webhook_changes (
    thing_id BLOB    NOT NULL PRIMARY KEY,
    version  INTEGER NOT NULL UNIQUE
) WITHOUT ROWID;
