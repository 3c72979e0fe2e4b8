-- Runs that wait for something to happen to their recipient: for what, and in which step, as JSON text.
CREATE TABLE waits (
    run TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    topic TEXT NOT NULL,
    source TEXT NOT NULL,
    step TEXT NOT NULL
);
CREATE INDEX waits_by_recipient ON waits (env, recipient, topic, source);
