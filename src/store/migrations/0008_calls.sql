-- In which line a job waits: 0 for what this server does by itself, 1 for what servers of others have to answer. Those of
-- one line are found without those of the other.
ALTER TABLE jobs ADD COLUMN line BIGINT NOT NULL DEFAULT 0;
DROP INDEX jobs_by_due;
CREATE INDEX jobs_by_due ON jobs (line, due_at);
