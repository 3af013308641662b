-- The back-off of a single step, where its template names one: GROWTH BASE CAP
-- (include/tasker/retry.h). NULL: the back-off that is configured.

ALTER TABLE steps ADD COLUMN backoff TEXT;
