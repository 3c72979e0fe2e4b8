-- Messages that stand in no feed, by their age: what is old is forgotten. An item of a feed costs this index nothing.
CREATE INDEX messages_alone_by_time ON messages (env, inserted_at, id) WHERE feed IS NULL;
