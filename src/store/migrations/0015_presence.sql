-- When a user last had a socket open, as nodes noted it when the first one came and when the last one went.
CREATE TABLE last_seen (
    env BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (env, user_id)
);
