-- Lists are read page by page along an index that has them in the order of pages, however long they are.

-- The messages of a user or an object, of a trigger, and in a tenant, newest first.
CREATE INDEX messages_by_recipient ON messages (env, recipient, inserted_at, id);
CREATE INDEX messages_by_workflow_run ON messages (env, workflow_run, inserted_at, id);
CREATE INDEX messages_by_tenant ON messages (env, tenant, inserted_at, id) WHERE tenant IS NOT NULL;
-- Those that are still to be sent, or never came to anybody: what was sent costs the index nothing.
CREATE INDEX messages_unsent ON messages (env, inserted_at, id) WHERE status NOT IN ('sent', 'delivered');

-- The runs of a recipient, newest first; and those in which something went wrong: the others cost the index nothing.
DROP INDEX runs_by_recipient;
CREATE INDEX runs_by_recipient ON runs (env, recipient, inserted_at, id);
CREATE INDEX runs_with_errors ON runs (env, inserted_at, id) WHERE error_count > 0;
