-- What migrations/sqlite explains, in PostgreSQL's types.
ALTER TABLE webhooks ADD COLUMN slow_until BIGINT NOT NULL DEFAULT 0;
CREATE TABLE webhook_older_secrets (
    webhook_id UUID   NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    sealed     BYTEA  NOT NULL,
    until      BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, sealed)
);
