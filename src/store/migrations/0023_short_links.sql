-- Links that must be short: what they stand for, by what they end in. They are kept for ever, since messages are out there.
CREATE TABLE short_links (
    key TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    message TEXT NOT NULL,
    url TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
