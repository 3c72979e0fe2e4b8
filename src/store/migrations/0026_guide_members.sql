-- Whether a step of a workflow brings users to a guide, or ever did: then it is for them alone.
ALTER TABLE guides ADD COLUMN is_targeted BIGINT NOT NULL DEFAULT 0;

-- Whom such a step has brought to a guide; the tenant is that of the run, and empty where it had none.
CREATE TABLE guide_members (
    env BIGINT NOT NULL,
    guide TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (env, user_id, guide, tenant)
);
