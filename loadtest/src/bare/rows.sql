-- The rows one notification writes, in the shape of the server's own tables `feeds`, `messages` and `runs`.
CREATE TABLE feeds (
    id INTEGER PRIMARY KEY, env BIGINT NOT NULL, channel TEXT NOT NULL, recipient TEXT NOT NULL, version BIGINT NOT NULL,
    forgotten BIGINT NOT NULL DEFAULT 0, last_at BIGINT NOT NULL, total BIGINT NOT NULL, unread BIGINT NOT NULL,
    unseen BIGINT NOT NULL, archived BIGINT NOT NULL, archived_unread BIGINT NOT NULL, archived_unseen BIGINT NOT NULL,
    UNIQUE (env, channel, recipient)
);
CREATE TABLE messages (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, env BIGINT NOT NULL, feed BIGINT, seq BIGINT NOT NULL,
    version BIGINT NOT NULL, channel TEXT NOT NULL, recipient TEXT NOT NULL, tenant TEXT, actor TEXT, workflow TEXT NOT NULL,
    version_id TEXT NOT NULL, categories TEXT NOT NULL, step_ref TEXT NOT NULL, workflow_run TEXT NOT NULL,
    run TEXT NOT NULL, status TEXT NOT NULL, blocks TEXT NOT NULL, actors TEXT NOT NULL, total_actors BIGINT NOT NULL,
    data TEXT NOT NULL, slim_data TEXT, activities TEXT, total_activities BIGINT NOT NULL, metadata TEXT,
    inserted_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, scheduled_at BIGINT, seen_at BIGINT, read_at BIGINT,
    interacted_at BIGINT, link_clicked_at BIGINT, archived_at BIGINT
);
CREATE INDEX messages_by_feed ON messages (feed, seq, archived_at, seen_at, read_at) WHERE feed IS NOT NULL;
CREATE INDEX messages_by_version ON messages (feed, version) WHERE feed IS NOT NULL;
CREATE INDEX messages_by_time ON messages (env, inserted_at, id);
CREATE INDEX messages_by_actor ON messages (env, actor) WHERE actor IS NOT NULL;
CREATE TABLE runs (
    id TEXT PRIMARY KEY, env BIGINT NOT NULL, rev BIGINT NOT NULL, workflow_run TEXT NOT NULL, workflow TEXT NOT NULL,
    version_id TEXT NOT NULL, status TEXT NOT NULL, recipient TEXT NOT NULL, actor TEXT, tenant TEXT, cancellation_key TEXT,
    source TEXT NOT NULL, settings TEXT NOT NULL, data TEXT NOT NULL, state TEXT NOT NULL, events TEXT NOT NULL,
    error_count BIGINT NOT NULL, inserted_at BIGINT NOT NULL, updated_at BIGINT NOT NULL
);
CREATE INDEX runs_by_time ON runs (env, inserted_at, id);
CREATE INDEX runs_to_cancel ON runs (env, workflow, cancellation_key)
    WHERE cancellation_key IS NOT NULL AND status IN ('queued', 'processing', 'paused');
CREATE INDEX runs_by_recipient ON runs (env, recipient);
