-- The steps of a task that are not complete, by state: whether one can run is answered without a look
-- at those that are, however many.

CREATE INDEX steps_not_complete ON steps (task, state, waits_for)
    WHERE task IS NOT NULL AND state <> 'complete';
