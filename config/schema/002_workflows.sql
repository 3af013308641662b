-- Tasks made from templates. handler_config is that of the task; optional_steps is its plan
-- (JSON, include/tasker/flow.h) where it has steps that an output may ask for, else NULL; held
-- namespaces have nothing of theirs claimed. waits_for counts the steps that a step still has to
-- wait for by its join, so that those that can run are found without looking at all that cannot.

ALTER TABLE tasks ADD COLUMN handler_config TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tasks ADD COLUMN optional_steps TEXT;

ALTER TABLE steps ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ADD COLUMN join_rule TEXT NOT NULL DEFAULT 'all_ok'
    CHECK (join_rule IN ('all_ok', 'all_done', 'any_ok'));
ALTER TABLE steps ADD COLUMN unsatisfied TEXT NOT NULL DEFAULT 'cancel'
    CHECK (unsatisfied IN ('cancel', 'block'));
ALTER TABLE steps ADD COLUMN waits_for INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ADD COLUMN default_retryable INTEGER NOT NULL DEFAULT 1;
ALTER TABLE steps ADD COLUMN template_name TEXT;
-- The last column is for those that wait for a back-off: they are passed over within the index.
CREATE INDEX steps_ready ON steps (priority DESC, created_at, id, coalesce(next_retry_at, 0))
    WHERE state = 'pending' AND waits_for = 0 AND task IS NOT NULL;

CREATE TABLE held_namespaces (
    namespace TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX tasks_by_namespace ON tasks (namespace, name, created_at);
