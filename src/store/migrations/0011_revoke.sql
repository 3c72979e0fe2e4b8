-- When a message was taken back: it stands in no feed any more.
ALTER TABLE messages ADD COLUMN revoked_at BIGINT;
-- Runs that are over, by the key by which what they told can be taken back; those that are not are in `runs_to_cancel`. A run
-- without a key costs neither anything.
CREATE INDEX runs_to_revoke ON runs (env, workflow, cancellation_key, id)
    WHERE cancellation_key IS NOT NULL AND status IN ('completed', 'cancelled');
