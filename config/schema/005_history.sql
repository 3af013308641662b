-- A dependency names its task, so that those of a task are found by one index, however many others
-- there are.

ALTER TABLE step_dependencies ADD COLUMN task BIGINT NOT NULL DEFAULT 0;
UPDATE step_dependencies SET task = (SELECT s.task FROM steps s WHERE s.id = to_step);
CREATE INDEX step_dependencies_of_task ON step_dependencies (task);
