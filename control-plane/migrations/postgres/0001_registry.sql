-- The registry: who there is, what is theirs, and what may talk to what. The tables of migrations/sqlite, where each is
-- explained, in PostgreSQL's types. Texts are compared byte by byte, as SQLite does, whatever locale the database has.
-- Times are microseconds since the Unix epoch.

CREATE TABLE users (
    id               UUID             NOT NULL PRIMARY KEY,
    email            TEXT COLLATE "C" NOT NULL,
    email_folded     TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash    TEXT COLLATE "C" NOT NULL,
    token_generation BIGINT           NOT NULL,
    metadata         TEXT COLLATE "C",
    ordinal          BIGINT           NOT NULL UNIQUE,
    created_at       BIGINT           NOT NULL,
    updated_at       BIGINT           NOT NULL
);

CREATE TABLE policies (
    subject  TEXT COLLATE "C" NOT NULL,
    object   TEXT COLLATE "C" NOT NULL,
    relation TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (subject, object, relation)
);

CREATE TABLE claimed_ids (
    kind BIGINT NOT NULL,
    id   UUID   NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE things (
    id            UUID             NOT NULL PRIMARY KEY,
    owner_id      UUID             NOT NULL REFERENCES users (id),
    name          TEXT COLLATE "C" NOT NULL,
    name_folded   TEXT COLLATE "C" NOT NULL,
    metadata      TEXT COLLATE "C",
    sealed_key    BYTEA            NOT NULL,
    ordinal       BIGINT           NOT NULL UNIQUE,
    owner_ordinal BIGINT           NOT NULL,
    created_at    BIGINT           NOT NULL,
    updated_at    BIGINT           NOT NULL
);
CREATE UNIQUE INDEX things_by_owner ON things (owner_id, owner_ordinal);

CREATE TABLE thing_keys (
    digest     BYTEA NOT NULL PRIMARY KEY,
    thing_id   UUID  NOT NULL REFERENCES things (id),
    expires_at BIGINT
);
CREATE INDEX thing_keys_by_thing ON thing_keys (thing_id);
CREATE INDEX thing_keys_by_end ON thing_keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE channels (
    id            UUID             NOT NULL PRIMARY KEY,
    owner_id      UUID             NOT NULL REFERENCES users (id),
    name          TEXT COLLATE "C" NOT NULL,
    name_folded   TEXT COLLATE "C" NOT NULL,
    metadata      TEXT COLLATE "C",
    bucket_width  BIGINT           NOT NULL,
    ordinal       BIGINT           NOT NULL UNIQUE,
    owner_ordinal BIGINT           NOT NULL,
    created_at    BIGINT           NOT NULL,
    updated_at    BIGINT           NOT NULL
);
CREATE UNIQUE INDEX channels_by_owner ON channels (owner_id, owner_ordinal);

CREATE TABLE connections (
    thing_id   UUID NOT NULL REFERENCES things (id),
    channel_id UUID NOT NULL REFERENCES channels (id),
    PRIMARY KEY (thing_id, channel_id)
);
CREATE INDEX connections_by_channel ON connections (channel_id);

CREATE TABLE ordinals (
    kind  BIGINT NOT NULL,
    scope UUID   NOT NULL,
    next  BIGINT NOT NULL,
    PRIMARY KEY (kind, scope)
);
CREATE TABLE list_chunks (
    kind  BIGINT NOT NULL,
    scope UUID   NOT NULL,
    chunk BIGINT NOT NULL,
    live  BIGINT NOT NULL,
    PRIMARY KEY (kind, scope, chunk)
);

CREATE TABLE outbox (
    seq       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      BIGINT NOT NULL,
    entity_id UUID   NOT NULL
);

CREATE TABLE purges (
    kind      BIGINT NOT NULL,
    entity_id UUID   NOT NULL,
    PRIMARY KEY (kind, entity_id)
);

CREATE TABLE seal_check (
    id     BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sealed BYTEA  NOT NULL
);
