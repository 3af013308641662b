-- What becomes of a step when nothing before it was run: optional steps that nobody asked for, and
-- steps that were skipped themselves. Steps that were made before this was asked run, as they did.

ALTER TABLE steps ADD COLUMN when_skipped TEXT NOT NULL DEFAULT 'run'
    CHECK (when_skipped IN ('run', 'skip'));
