-- The tables of migrations/sqlite, where each is explained, in PostgreSQL's types.
CREATE TABLE webhooks (
    id                UUID NOT NULL PRIMARY KEY,
    thing_id          UUID NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    name              TEXT COLLATE "C" NOT NULL,
    format            BIGINT NOT NULL,
    url               TEXT COLLATE "C" NOT NULL,
    sealed_secret     BYTEA NOT NULL,
    sealed_old_secret BYTEA NOT NULL,
    old_secret_until  BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    active_since      BIGINT NOT NULL,
    disabled          BIGINT NOT NULL DEFAULT 0,
    disabled_at       BIGINT NOT NULL DEFAULT 0,
    attempts          BIGINT NOT NULL DEFAULT 0,
    delivered         BIGINT NOT NULL DEFAULT 0,
    failed            BIGINT NOT NULL DEFAULT 0,
    expired           BIGINT NOT NULL DEFAULT 0,
    dropped           BIGINT NOT NULL DEFAULT 0,
    last_delivered_at BIGINT NOT NULL DEFAULT 0,
    last_failed_at    BIGINT NOT NULL DEFAULT 0,
    failures          BIGINT NOT NULL DEFAULT 0,
    failing_since     BIGINT NOT NULL DEFAULT 0,
    hold_until        BIGINT NOT NULL DEFAULT 0,
    steps_aside       BIGINT NOT NULL DEFAULT 0,
    lease_until       BIGINT NOT NULL DEFAULT 0,
    next_delivery     BIGINT NOT NULL DEFAULT 0,
    pending_count     BIGINT NOT NULL DEFAULT 0,
    pending_bytes     BIGINT NOT NULL DEFAULT 0,
    expired_count     BIGINT NOT NULL DEFAULT 0,
    expired_bytes     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_by_thing ON webhooks (thing_id);
CREATE INDEX webhooks_with_pending ON webhooks (hold_until) WHERE pending_count > 0;
CREATE TABLE webhook_deliveries (
    webhook_id  UUID NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    seq         BIGINT NOT NULL,
    id          UUID NOT NULL,
    state       BIGINT NOT NULL,
    format      BIGINT NOT NULL,
    body        BYTEA NOT NULL,
    bytes       BIGINT NOT NULL,
    records     BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, seq),
    UNIQUE (webhook_id, id)
);
CREATE INDEX webhook_deliveries_by_end ON webhook_deliveries (state, expires_at);
CREATE TABLE webhook_attempts (
    webhook_id   UUID NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    slot         BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    delivery_id  UUID NOT NULL,
    outcome      BIGINT NOT NULL,
    status       BIGINT NOT NULL,
    latency      BIGINT NOT NULL,
    next_try_at  BIGINT NOT NULL,
    records      BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    excerpt      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (webhook_id, slot)
);
CREATE TABLE webhook_changes (
    thing_id UUID NOT NULL PRIMARY KEY,
    version  BIGINT NOT NULL UNIQUE
);
