-- The registry: who there is, what is theirs, and what may talk to what.
-- Times are microseconds since the Unix epoch. Ids are UUIDs, 16 bytes.

CREATE TABLE users (
    id               BLOB    NOT NULL PRIMARY KEY,
    -- As given, for showing; folded, for finding: one person has one account, however the address is capitalised.
    email            TEXT    NOT NULL,
    email_folded     TEXT    NOT NULL UNIQUE,
    password_hash    TEXT    NOT NULL,
    -- Login tokens carry the generation they were issued in. A password change begins the next one.
    token_generation INTEGER NOT NULL,
    metadata         TEXT,
    ordinal          INTEGER NOT NULL UNIQUE,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
);

-- Who may do what beyond owning: subject has the relation to the object. A platform admin is
-- (user id, 'authorities', 'member').
CREATE TABLE policies (
    subject  TEXT NOT NULL,
    object   TEXT NOT NULL,
    relation TEXT NOT NULL,
    PRIMARY KEY (subject, object, relation)
) WITHOUT ROWID;

-- Every id that a thing (kind 2) or a channel (kind 3) ever had. Rows are never deleted: an id is never free again.
CREATE TABLE claimed_ids (
    kind INTEGER NOT NULL,
    id   BLOB    NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

CREATE TABLE things (
    id            BLOB    NOT NULL PRIMARY KEY,
    owner_id      BLOB    NOT NULL REFERENCES users (id),
    name          TEXT    NOT NULL,
    name_folded   TEXT    NOT NULL,
    metadata      TEXT,
    sealed_key    BLOB    NOT NULL,
    ordinal       INTEGER NOT NULL UNIQUE,
    owner_ordinal INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);
CREATE UNIQUE INDEX things_by_owner ON things (owner_id, owner_ordinal);

-- The keys that are in force. Only the newest of a thing has no end.
CREATE TABLE thing_keys (
    digest     BLOB NOT NULL PRIMARY KEY,
    thing_id   BLOB NOT NULL REFERENCES things (id),
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX thing_keys_by_thing ON thing_keys (thing_id);
CREATE INDEX thing_keys_by_end ON thing_keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE channels (
    id            BLOB    NOT NULL PRIMARY KEY,
    owner_id      BLOB    NOT NULL REFERENCES users (id),
    name          TEXT    NOT NULL,
    name_folded   TEXT    NOT NULL,
    metadata      TEXT,
    -- domain::BucketWidth::code. Stored records lie where it says: it never changes.
    bucket_width  INTEGER NOT NULL,
    ordinal       INTEGER NOT NULL UNIQUE,
    owner_ordinal INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);
CREATE UNIQUE INDEX channels_by_owner ON channels (owner_id, owner_ordinal);

CREATE TABLE connections (
    thing_id   BLOB NOT NULL REFERENCES things (id),
    channel_id BLOB NOT NULL REFERENCES channels (id),
    PRIMARY KEY (thing_id, channel_id)
) WITHOUT ROWID;
CREATE INDEX connections_by_channel ON connections (channel_id);

-- Lists number their entries (ordinals), from 0, and never use a number again. Chunks count how many of each 1,024
-- numbers are still there, so that a total and a deep offset cost no scan. scope: a user's id, or the nil UUID for
-- the list of all.
CREATE TABLE ordinals (
    kind  INTEGER NOT NULL,
    scope BLOB    NOT NULL,
    next  INTEGER NOT NULL,
    PRIMARY KEY (kind, scope)
) WITHOUT ROWID;
CREATE TABLE list_chunks (
    kind  INTEGER NOT NULL,
    scope BLOB    NOT NULL,
    chunk INTEGER NOT NULL,
    live  INTEGER NOT NULL,
    PRIMARY KEY (kind, scope, chunk)
) WITHOUT ROWID;

-- Changes that are committed and not yet known to be published to the change feed.
CREATE TABLE outbox (
    seq       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind      INTEGER NOT NULL,
    entity_id BLOB    NOT NULL
);

-- Deleted things and channels whose records may still be in the store.
CREATE TABLE purges (
    kind      INTEGER NOT NULL,
    entity_id BLOB    NOT NULL,
    PRIMARY KEY (kind, entity_id)
) WITHOUT ROWID;

-- One row: a known text under the sealing key, so that a lost or exchanged key is noticed at start.
CREATE TABLE seal_check (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sealed BLOB    NOT NULL
);
