-- What an item is told apart by from those that take its place while it is unread; and when it came first, once another
-- has taken it. A message without a key costs the index nothing.
ALTER TABLE messages ADD COLUMN collapse_key TEXT;
ALTER TABLE messages ADD COLUMN first_at BIGINT;
CREATE INDEX messages_by_collapse_key ON messages (env, collapse_key, recipient, archived_at, read_at)
    WHERE collapse_key IS NOT NULL;
