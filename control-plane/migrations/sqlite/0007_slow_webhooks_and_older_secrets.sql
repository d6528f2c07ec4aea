-- Until then the endpoint counts as slow, because a try took long: its deliveries have a share of the places.
ALTER TABLE webhooks ADD COLUMN slow_until INTEGER NOT NULL DEFAULT 0;

-- Secrets from before sealed_old_secret that still sign, because a webhook was given another one several times in a day.
CREATE TABLE webhook_older_secrets (
    webhook_id BLOB    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    sealed     BLOB    NOT NULL,
    -- Until when it signs.
    until      INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, sealed)
) WITHOUT ROWID;
