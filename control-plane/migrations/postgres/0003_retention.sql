-- How long a channel keeps its records: domain::Retention::code, where 4 is for ever. The class is what the channel was created
-- with, and never changes: stored records lie where it says. The retention is at most that, and never grows.
ALTER TABLE channels ADD COLUMN storage_class BIGINT NOT NULL DEFAULT 4;
ALTER TABLE channels ADD COLUMN retention BIGINT NOT NULL DEFAULT 4;

-- What the sweep walks along.
CREATE INDEX channels_that_expire ON channels (id) WHERE retention < 4;
