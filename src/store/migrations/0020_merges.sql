-- Where somebody acts in what is still to come: whoever becomes another acts there under the other's name.
CREATE INDEX runs_by_actor ON runs (env, actor)
    WHERE actor IS NOT NULL AND status IN ('queued', 'processing', 'paused');
CREATE INDEX schedules_by_actor ON schedules (env, actor) WHERE actor IS NOT NULL;
