-- Workflows that run for a recipient at an instant, or again and again; `repeats` is a JSON array of rules, empty for the
-- former. The next occurrence has a job of kind `schedule`. `rev` is raised by every change.
CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    workflow TEXT NOT NULL,
    recipient TEXT NOT NULL,
    actor TEXT,
    tenant TEXT,
    cancellation_key TEXT,
    data TEXT NOT NULL,
    repeats TEXT NOT NULL,
    scheduled_at BIGINT,
    ending_at BIGINT,
    last_occurrence_at BIGINT,
    next_occurrence_at BIGINT,
    inserted_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX schedules_by_workflow ON schedules (env, workflow, inserted_at, id);
CREATE INDEX schedules_by_recipient ON schedules (env, recipient, inserted_at, id);
