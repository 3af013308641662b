-- Steps that are made at run time. creates is what a step's output asks for, as it was found right
-- (JSON, [{"name", "count"}]), and derived from the ledger as results are. A step that was made so
-- has the name of its optional step as template_name, who asked for it first, and, of N of a kind,
-- which one it is of how many. A dependency that is a choice stands for optional steps that nobody
-- has asked for: the step behind waits until it is clear that nobody does.

ALTER TABLE steps ADD COLUMN creates TEXT;
ALTER TABLE steps ADD COLUMN created_by BIGINT;
ALTER TABLE steps ADD COLUMN created_index INTEGER;
ALTER TABLE steps ADD COLUMN created_count INTEGER;
ALTER TABLE step_dependencies ADD COLUMN choice INTEGER NOT NULL DEFAULT 0;
