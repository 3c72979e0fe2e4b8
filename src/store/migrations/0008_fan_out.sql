-- Who follows which object; both by key. `n` orders them as they came.
CREATE TABLE subscriptions (
    n INTEGER PRIMARY KEY,
    env BIGINT NOT NULL,
    object TEXT NOT NULL,
    recipient TEXT NOT NULL,
    properties TEXT,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (env, object, recipient)
);
CREATE INDEX subscriptions_of_object ON subscriptions (env, object, n);
CREATE INDEX subscriptions_of_recipient ON subscriptions (env, recipient, n);
-- The objects among an object's followers, which have followers of their own: their keys begin with `#`.
CREATE INDEX subscriptions_nested ON subscriptions (env, object, n) WHERE recipient >= '#' AND recipient < '$';

-- Triggers whose objects' followers are still being told. `rev` is raised by every part and by every cancellation:
-- whoever read an older one has been overtaken.
CREATE TABLE fan_outs (
    id TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    workflow TEXT NOT NULL,
    cancellation_key TEXT,
    rev BIGINT NOT NULL,
    is_cancelled BIGINT NOT NULL,
    started BIGINT NOT NULL
);
CREATE INDEX fan_outs_to_cancel ON fan_outs (env, workflow, cancellation_key) WHERE cancellation_key IS NOT NULL;

-- What their runs are started with: it may be long, and stands apart from what every part changes.
CREATE TABLE fan_out_orders (
    fan_out TEXT PRIMARY KEY,
    body TEXT NOT NULL
);

-- Whose runs of them are cancelled before they have begun.
CREATE TABLE fan_out_cancelled (
    fan_out TEXT NOT NULL,
    recipient TEXT NOT NULL,
    PRIMARY KEY (fan_out, recipient)
);
