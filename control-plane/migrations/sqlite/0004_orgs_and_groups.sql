-- Orgs and groups, what is in them, what admins grant by policies, and API keys. Rows that say who is in what go with either
-- of the two: nothing is left of an entity that is gone.

CREATE TABLE orgs (
    id          BLOB    NOT NULL PRIMARY KEY,
    owner_id    BLOB    NOT NULL REFERENCES users (id),
    name        TEXT    NOT NULL,
    name_folded TEXT    NOT NULL,
    description TEXT    NOT NULL,
    metadata    TEXT,
    ordinal     INTEGER NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
);
CREATE INDEX orgs_by_owner ON orgs (owner_id);

-- role: access::Role::code. The owner is a member, too.
CREATE TABLE org_members (
    user_id BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    org_id  BLOB    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    role    INTEGER NOT NULL,
    PRIMARY KEY (user_id, org_id)
) WITHOUT ROWID;
CREATE INDEX org_members_by_org ON org_members (org_id);

CREATE TABLE groups (
    id          BLOB    NOT NULL PRIMARY KEY,
    owner_id    BLOB    NOT NULL REFERENCES users (id),
    name        TEXT    NOT NULL,
    name_folded TEXT    NOT NULL,
    description TEXT    NOT NULL,
    metadata    TEXT,
    ordinal     INTEGER NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
);
CREATE INDEX groups_by_owner ON groups (owner_id);

-- The owner is a member, too.
CREATE TABLE group_users (
    user_id  BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
) WITHOUT ROWID;
CREATE INDEX group_users_by_group ON group_users (group_id);

CREATE TABLE group_things (
    thing_id BLOB NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (thing_id, group_id)
) WITHOUT ROWID;
CREATE INDEX group_things_by_group ON group_things (group_id);

CREATE TABLE org_groups (
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    org_id   BLOB NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, org_id)
) WITHOUT ROWID;
CREATE INDEX org_groups_by_org ON org_groups (org_id);

-- What a user may do with a thing because an admin says so. relation: access::Relation::code. Policies on what is no
-- entity (users, authorities, user) stay in the table policies; being a group's member by a policy is a row of group_users.
CREATE TABLE thing_policies (
    user_id  BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    thing_id BLOB    NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    relation INTEGER NOT NULL,
    PRIMARY KEY (user_id, thing_id, relation)
) WITHOUT ROWID;
CREATE INDEX thing_policies_by_thing ON thing_policies (thing_id);

-- The API keys that are not revoked. Of a key there is nothing here but that it is in force: it is a signed token.
CREATE TABLE api_keys (
    id         BLOB    NOT NULL PRIMARY KEY,
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX api_keys_by_user ON api_keys (user_id, issued_at);
