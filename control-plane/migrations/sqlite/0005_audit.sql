-- Who did what to which entity. A row is written by the transaction of the change itself, and is never changed. Ids are not
-- references: what is told of an entity outlives it.

-- seq: in the order of the commits, numbered by ordinals with the kind 0. user_id is missing where nobody had logged in,
-- entity_id where the change is of no entity. deed: registry::audit::Deed::name.
CREATE TABLE audit (
    seq        INTEGER NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    user_id    BLOB,
    key_id     BLOB,
    request_id TEXT,
    deed       TEXT    NOT NULL,
    entity_id  BLOB,
    other_id   BLOB,
    detail     TEXT
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_deed ON audit (deed, seq);
CREATE INDEX audit_by_request ON audit (request_id, seq) WHERE request_id IS NOT NULL;

-- Whom and what a row concerns. role: registry::audit::Concern::code.
CREATE TABLE audit_concerns (
    role INTEGER NOT NULL,
    id   BLOB    NOT NULL,
    seq  INTEGER NOT NULL REFERENCES audit (seq) ON DELETE CASCADE,
    PRIMARY KEY (role, id, seq)
) WITHOUT ROWID;
CREATE INDEX audit_concerns_by_seq ON audit_concerns (seq);
