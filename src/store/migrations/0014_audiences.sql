-- Audiences that a file declares, or that were made by whoever added members. `version` is that of the definition by which
-- the members of a dynamic one were found.
CREATE TABLE audiences (
    env BIGINT NOT NULL,
    key TEXT NOT NULL,
    is_dynamic BIGINT NOT NULL,
    version TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (env, key)
);

-- A member's slot is the user's id and the tenant's, with `#` between them; `token` names the change that added them.
CREATE TABLE audience_members (
    env BIGINT NOT NULL,
    audience TEXT NOT NULL,
    slot TEXT NOT NULL,
    user_id TEXT NOT NULL,
    token TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (env, audience, slot)
);
CREATE INDEX audience_members_by_time ON audience_members (env, audience, added_at, slot);
CREATE INDEX audience_members_by_user ON audience_members (env, user_id);
