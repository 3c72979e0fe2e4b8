-- Guides that files declare, and under `#default` the group that puts them in order: since when, and how often they have
-- changed.
CREATE TABLE guides (
    env BIGINT NOT NULL,
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    revision BIGINT NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (env, key)
);

-- The message that tells what a user has done with a step of a guide; by tenant where each has the guide for itself. When
-- they archived the step, and others had to wait from then on, `throttles_at` says so; `is_final` says that they were
-- done with the whole guide.
CREATE TABLE guide_engagements (
    env BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    guide TEXT NOT NULL,
    tenant TEXT NOT NULL,
    step_ref TEXT NOT NULL,
    message TEXT NOT NULL,
    is_final BIGINT NOT NULL DEFAULT 0,
    throttles_at BIGINT,
    PRIMARY KEY (env, user_id, guide, tenant, step_ref)
);
CREATE INDEX guide_engagements_by_message ON guide_engagements (message);
