-- The tables of migrations/sqlite, where each is explained, in PostgreSQL's types.

CREATE TABLE audit (
    seq        BIGINT NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    user_id    UUID,
    key_id     UUID,
    request_id TEXT COLLATE "C",
    deed       TEXT COLLATE "C" NOT NULL,
    entity_id  UUID,
    other_id   UUID,
    detail     TEXT COLLATE "C"
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_deed ON audit (deed, seq);
CREATE INDEX audit_by_request ON audit (request_id, seq) WHERE request_id IS NOT NULL;

CREATE TABLE audit_concerns (
    role BIGINT NOT NULL,
    id   UUID NOT NULL,
    seq  BIGINT NOT NULL REFERENCES audit (seq) ON DELETE CASCADE,
    PRIMARY KEY (role, id, seq)
);
CREATE INDEX audit_concerns_by_seq ON audit_concerns (seq);
