-- The window that a throttle step has open for a recipient, by the step's key, and how many runs have passed in it.
CREATE TABLE throttles (
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    workflow TEXT NOT NULL,
    step_ref TEXT NOT NULL,
    key TEXT NOT NULL,
    closes_at BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    PRIMARY KEY (env, recipient, workflow, step_ref, key)
);
CREATE INDEX throttles_by_end ON throttles (closes_at);

-- For whom a workflow has run that may run once: per recipient, or per recipient and tenant.
CREATE TABLE run_once (
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    workflow TEXT NOT NULL,
    scope TEXT NOT NULL,
    PRIMARY KEY (env, recipient, workflow, scope)
);
