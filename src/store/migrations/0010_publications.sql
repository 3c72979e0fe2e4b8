-- How often something has been published in an environment: raised by whatever changes which workflows there are, and which
-- of them are active; nodes look at it to find out. `is_applied` says that it was applied, and did not come from files.
CREATE TABLE publications (
    env BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    is_applied BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- Which versions have been current where, and since when.
CREATE TABLE published_versions (
    env BIGINT NOT NULL,
    key TEXT NOT NULL,
    published_at BIGINT NOT NULL,
    version_id TEXT NOT NULL,
    PRIMARY KEY (env, key, published_at, version_id)
);
INSERT INTO published_versions (env, key, published_at, version_id)
    SELECT w.env, v.key, v.created_at, v.id FROM workflow_versions v JOIN workflows w ON w.key = v.key;
-- A workflow that is current no more, since when.
ALTER TABLE workflows ADD COLUMN archived_at BIGINT;
