-- What one of all nodes does every so often, and when it is done next.
CREATE TABLE chores (
    name TEXT PRIMARY KEY,
    next_at BIGINT NOT NULL
);
