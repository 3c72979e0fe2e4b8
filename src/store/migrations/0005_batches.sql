-- What runs of a recipient have come to together at a batch step. More may join until `closes_at`, as long as it is
-- open; sliding windows close at `cap_at` at the latest. `run` carries it on: none as long as nothing has come. `rev` is
-- raised by whatever joins, leaves or closes: whoever read an older one has been overtaken.
CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    workflow TEXT NOT NULL,
    identity TEXT NOT NULL,
    key TEXT NOT NULL,
    run TEXT,
    opened_at BIGINT NOT NULL,
    closes_at BIGINT NOT NULL,
    cap_at BIGINT NOT NULL,
    items_max BIGINT,
    count BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    is_open BIGINT NOT NULL
);
CREATE UNIQUE INDEX batches_open ON batches (env, recipient, workflow, identity, key) WHERE is_open = 1;
CREATE INDEX batches_by_run ON batches (run) WHERE run IS NOT NULL;
CREATE INDEX batches_unclaimed ON batches (closes_at) WHERE run IS NULL;

-- What each of those runs brought, in the order of their ids.
CREATE TABLE batch_activities (
    batch TEXT NOT NULL,
    id TEXT NOT NULL,
    env BIGINT NOT NULL,
    workflow TEXT NOT NULL,
    run TEXT NOT NULL,
    cancellation_key TEXT,
    actor TEXT,
    data TEXT NOT NULL,
    inserted_at BIGINT NOT NULL,
    PRIMARY KEY (batch, id)
);
CREATE INDEX batch_activities_to_cancel ON batch_activities (env, workflow, cancellation_key)
    WHERE cancellation_key IS NOT NULL;
CREATE INDEX batch_activities_by_actor ON batch_activities (env, actor) WHERE actor IS NOT NULL;

-- The batch whose activities came together in a message.
ALTER TABLE messages ADD COLUMN batch TEXT;
CREATE INDEX messages_by_batch ON messages (batch) WHERE batch IS NOT NULL;
