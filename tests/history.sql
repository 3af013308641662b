-- The rows that @TASKS@ finished tasks leave in an empty store: chains of ten steps, in batches of ten
-- steps of ten tasks. One text for both stores; history_fill runs it.
CREATE TEMPORARY TABLE h AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n
    WHERE i + 1 < @TASKS@) SELECT i FROM n;
-- task t, place k, step id, batch b, when it ended
CREATE TEMPORARY TABLE hs AS SELECT i + 1 AS t, k, i * 10 + k + 1 AS id,
    i / 10 * 10 + k + 1 AS b, i % 10 + 1 AS o, 1700000000000 + i * 10 + k AS at
    FROM h CROSS JOIN (SELECT 0 AS k
    UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5
    UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) x;
INSERT INTO tasks (task_id, name, state, created_at, updated_at)
    SELECT i + 1, 'chain', 'complete', 1700000000000 + i * 10, 1700000000000 + i * 10 + 9 FROM h;
INSERT INTO task_transitions (task, sort_key, from_state, to_state, event, origin, created_at)
    SELECT i + 1, x.c1, x.c2, x.c3, x.c4, x.c5, 1700000000000 + i * 10
    FROM h CROSS JOIN (SELECT 0 AS c1, NULL AS c2, 'pending' AS c3, 'task_created' AS c4, 'program' AS c5
    UNION ALL SELECT 1, 'pending', 'in_progress', 'task_started', 'program'
    UNION ALL SELECT 2, 'in_progress', 'complete', 'task_completed', 'ledger') x;
INSERT INTO steps (id, task, step_id, task_id, name, handler_class, attempts, created_at, state, updated_at,
    last_attempted_at, processed_at, place, results, execution_ms, worker_id)
    SELECT id, t, id, t, 's' || (k + 1), 'Bench::True', 1, at, 'complete', at, at, at, k, '{}', 1, 'w1' FROM hs;
INSERT INTO step_dependencies (from_step, to_step) SELECT id - 1, id FROM hs WHERE k > 0;
INSERT INTO batches (id, batch_id, publisher, total_steps, timeout_ms, body, created_at, published_at,
    accepted_by, source, delivery, sends, state, updated_at)
    SELECT b, 'history-' || b, 'p1', count(*), 60000, CAST('{}' AS @BYTES@), min(at), min(at), 'w1', 's1', 'confirmed', 1,
    'completed', max(at) FROM hs GROUP BY b;
INSERT INTO batch_transitions (batch, sort_key, from_state, to_state, event, origin, created_at)
    SELECT b.id, x.c1, x.c2, x.c3, x.c4, x.c5, b.created_at
    FROM batches b CROSS JOIN (SELECT 0 AS c1, NULL AS c2, 'created' AS c3, 'batch_created' AS c4, 'program' AS c5
    UNION ALL SELECT 1, 'created', 'published', 'batch_published', 'program'
    UNION ALL SELECT 2, 'published', 'executing', 'batch_executing', 'ledger'
    UNION ALL SELECT 3, 'executing', 'completed', 'batch_completed', 'ledger') x;
INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt) SELECT b, o, id, id, 1 FROM hs;
INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch, created_at)
    SELECT id, x.c1, x.c2, x.c3, x.c4, x.c5, CASE WHEN x.c1 > 0 THEN b END, at
    FROM hs CROSS JOIN (SELECT 0 AS c1, NULL AS c2, 'pending' AS c3, 'step_created' AS c4, 'program' AS c5
    UNION ALL SELECT 1001, 'pending', 'enqueued', 'step_enqueued', 'program'
    UNION ALL SELECT 1002, 'enqueued', 'in_progress', 'step_started', 'ledger'
    UNION ALL SELECT 1003, 'in_progress', 'complete', 'step_completed', 'ledger') x;
INSERT INTO settled_steps (batch, step_id, attempt, status, outcome, execution_ms, worker_id)
    SELECT b, id, 1, 'completed', 'done', 1, 'w1' FROM hs;
INSERT INTO settled_batches (batch, verdict, revision, completed_steps, failed_steps, first_at, ended_at,
    completed_at, execution_ms)
    SELECT id, 'consistent', 1, total_steps, 0, created_at, updated_at, updated_at, 5 FROM batches;
INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, step_id, source,
    stream_offset, raw_message)
    SELECT at, 'c1', 'partial_result', 'partial_result', 'history-' || b, id, 's1', id * 2 + x.c1, CAST('{}' AS @BYTES@)
    FROM hs CROSS JOIN (SELECT 0 AS c1 UNION ALL SELECT 1) x
    UNION ALL SELECT max(at), 'c1', 'batch_completion', 'batch_completion', 'history-' || b, NULL, 's2', b,
    CAST('{}' AS @BYTES@) FROM hs GROUP BY b;
