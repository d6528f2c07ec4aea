-- The tables of migrations/sqlite, where each is explained, in PostgreSQL's types.

CREATE TABLE orgs (
    id          UUID NOT NULL PRIMARY KEY,
    owner_id    UUID NOT NULL REFERENCES users (id),
    name        TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    metadata    TEXT COLLATE "C",
    ordinal     BIGINT NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX orgs_by_owner ON orgs (owner_id);

CREATE TABLE org_members (
    user_id     UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    org_id      UUID NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    role        BIGINT NOT NULL,
    PRIMARY KEY (user_id, org_id)
);
CREATE INDEX org_members_by_org ON org_members (org_id);

CREATE TABLE groups (
    id          UUID NOT NULL PRIMARY KEY,
    owner_id    UUID NOT NULL REFERENCES users (id),
    name        TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    metadata    TEXT COLLATE "C",
    ordinal     BIGINT NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX groups_by_owner ON groups (owner_id);

CREATE TABLE group_users (
    user_id     UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id    UUID NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX group_users_by_group ON group_users (group_id);

CREATE TABLE group_things (
    thing_id    UUID NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    group_id    UUID NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (thing_id, group_id)
);
CREATE INDEX group_things_by_group ON group_things (group_id);

CREATE TABLE org_groups (
    group_id    UUID NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    org_id      UUID NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, org_id)
);
CREATE INDEX org_groups_by_org ON org_groups (org_id);

CREATE TABLE thing_policies (
    user_id     UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    thing_id    UUID NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    relation    BIGINT NOT NULL,
    PRIMARY KEY (user_id, thing_id, relation)
);
CREATE INDEX thing_policies_by_thing ON thing_policies (thing_id);

CREATE TABLE api_keys (
    id          UUID NOT NULL PRIMARY KEY,
    user_id     UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    issued_at   BIGINT NOT NULL,
    expires_at  BIGINT
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, issued_at);
