-- Times are microseconds since the Unix epoch. JSON is text. Environments are numbers; a recipient is named by its
-- key: a user's id, or `#collection#id` for an object (user ids hold no `#`).

CREATE TABLE environments (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    slug TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    digest TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE signing_keys (
    env BIGINT NOT NULL,
    kid TEXT NOT NULL,
    alg TEXT NOT NULL,
    material TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT,
    PRIMARY KEY (env, kid)
);

CREATE TABLE users (
    env BIGINT NOT NULL,
    id TEXT NOT NULL,
    properties TEXT NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (env, id)
);
CREATE INDEX users_by_time ON users (env, inserted_at, id);

CREATE TABLE objects (
    env BIGINT NOT NULL,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    properties TEXT NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (env, collection, id)
);

CREATE TABLE preference_sets (
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    set_id TEXT NOT NULL,
    body TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (env, recipient, set_id)
);

CREATE TABLE channel_data (
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    channel TEXT NOT NULL,
    data TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (env, recipient, channel)
);

CREATE TABLE workflow_versions (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    document TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE workflows (
    env BIGINT NOT NULL,
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,
    is_active BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (env, key)
);

-- One row per feed: its version, and the counters that badges show, beside those of the archive.
CREATE TABLE feeds (
    id INTEGER PRIMARY KEY,
    env BIGINT NOT NULL,
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    version BIGINT NOT NULL,
    forgotten BIGINT NOT NULL DEFAULT 0,
    last_at BIGINT NOT NULL,
    total BIGINT NOT NULL,
    unread BIGINT NOT NULL,
    unseen BIGINT NOT NULL,
    archived BIGINT NOT NULL,
    archived_unread BIGINT NOT NULL,
    archived_unseen BIGINT NOT NULL,
    UNIQUE (env, channel, recipient)
);

-- `feed` is null for a message that is in no feed (another channel, or a sandboxed run); `seq` orders a feed's items
-- as they were committed, `version` is the feed's version at the message's latest change.
CREATE TABLE messages (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    env BIGINT NOT NULL,
    feed BIGINT,
    seq BIGINT NOT NULL,
    version BIGINT NOT NULL,
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    tenant TEXT,
    actor TEXT,
    workflow TEXT NOT NULL,
    version_id TEXT NOT NULL,
    categories TEXT NOT NULL,
    step_ref TEXT NOT NULL,
    workflow_run TEXT NOT NULL,
    run TEXT NOT NULL,
    status TEXT NOT NULL,
    blocks TEXT NOT NULL,
    actors TEXT NOT NULL,
    total_actors BIGINT NOT NULL,
    data TEXT NOT NULL,
    slim_data TEXT,
    activities TEXT,
    total_activities BIGINT NOT NULL,
    metadata TEXT,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    scheduled_at BIGINT,
    seen_at BIGINT,
    read_at BIGINT,
    interacted_at BIGINT,
    link_clicked_at BIGINT,
    archived_at BIGINT
);
CREATE INDEX messages_by_feed ON messages (feed, seq, archived_at, seen_at, read_at) WHERE feed IS NOT NULL;
-- An item that has not changed since it came has `version = seq`; it is found by `seq`, and costs this index nothing.
CREATE INDEX messages_changed ON messages (feed, version) WHERE feed IS NOT NULL AND version <> seq;
CREATE INDEX messages_by_time ON messages (env, inserted_at, id);
CREATE INDEX messages_by_actor ON messages (env, actor) WHERE actor IS NOT NULL;

-- What readers and providers did to a message; `created` and `delivered` are read off the message itself.
CREATE TABLE message_events (
    message TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT,
    inserted_at BIGINT NOT NULL,
    PRIMARY KEY (message, id)
);

-- Items deleted from a feed, so that a client that resumes learns of it. Resumes from before `feeds.forgotten` start anew.
CREATE TABLE removals (
    feed BIGINT NOT NULL,
    version BIGINT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (feed, version, message)
);

-- One row per recipient run. `rev` is raised by every change: whoever read an older one has been overtaken.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    workflow_run TEXT NOT NULL,
    workflow TEXT NOT NULL,
    version_id TEXT NOT NULL,
    status TEXT NOT NULL,
    recipient TEXT NOT NULL,
    actor TEXT,
    tenant TEXT,
    cancellation_key TEXT,
    source TEXT NOT NULL,
    settings TEXT NOT NULL,
    data TEXT NOT NULL,
    state TEXT NOT NULL,
    events TEXT NOT NULL,
    error_count BIGINT NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX runs_by_time ON runs (env, inserted_at, id);
CREATE INDEX runs_to_cancel ON runs (env, workflow, cancellation_key)
    WHERE cancellation_key IS NOT NULL AND status IN ('queued', 'processing', 'paused');
CREATE INDEX runs_by_recipient ON runs (env, recipient);

-- Work that must happen: now, or at `due_at`. A worker leases a job, which moves `due_at` to the end of its lease, and
-- removes it in the batch that did the work.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    lease TEXT
);
CREATE INDEX jobs_by_due ON jobs (due_at);
CREATE INDEX jobs_by_subject ON jobs (subject);

CREATE TABLE idempotency (
    env BIGINT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    response TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (env, key)
);
CREATE INDEX idempotency_by_time ON idempotency (created_at);

CREATE TABLE bulk_operations (
    id TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    spec TEXT NOT NULL,
    progress TEXT NOT NULL,
    estimated_total_rows BIGINT NOT NULL,
    processed_rows BIGINT NOT NULL,
    success_count BIGINT NOT NULL,
    error_count BIGINT NOT NULL,
    error_items TEXT NOT NULL,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    failed_at BIGINT
);
