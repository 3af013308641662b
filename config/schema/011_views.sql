-- Views for questions that no program foresaw, by sqlite3 and psql (tasker(7), QUERIES). Times are texts
-- in UTC (2026-11-30T14:03:07.250Z), durations milliseconds, JSON is text. No program reads them, so a
-- later step may drop and make them again.
--   @UTC(@ ms @)UTC@  such a time     @TEXT(@ bytes @)TEXT@  the text     @NOW@  now, in ms

CREATE VIEW v_tasks AS
SELECT t.task_id, t.namespace, t.name, t.version, t.state, t.priority, t.initiator, t.correlation_id,
    t.tags, t.context,
    (SELECT count(*) FROM steps s WHERE s.task = t.task_id) AS steps,
    (SELECT count(*) FROM steps s WHERE s.task = t.task_id AND s.state = 'pending') AS pending,
    (SELECT count(*) FROM steps s WHERE s.task = t.task_id
        AND s.state IN ('enqueued', 'in_progress')) AS running,
    (SELECT count(*) FROM steps s WHERE s.task = t.task_id
        AND s.state IN ('complete', 'resolved_manually')) AS complete,
    (SELECT count(*) FROM steps s WHERE s.task = t.task_id AND s.state = 'error') AS in_error,
    @UTC(@ t.created_at @)UTC@ AS created_at,
    @UTC(@ t.updated_at @)UTC@ AS updated_at
FROM tasks t;

-- A skipped step is cancelled by the event step.skipped. batch_id is the batch of its latest attempt.
CREATE VIEW v_steps AS
SELECT s.id, s.step_id, s.task_id, t.namespace, t.name AS task, s.name, s.handler_class,
    CASE WHEN s.state = 'cancelled' AND EXISTS (SELECT 1 FROM step_transitions k
        WHERE k.step = s.id AND k.origin = 'ledger' AND k.event = 'step.skipped')
        THEN 'skipped' ELSE s.state END AS state,
    s.attempts, s.retry_limit + s.attempts_before AS attempts_most, s.retryable, s.waits_for,
    s.error_category, s.error, s.results, s.worker_id, s.execution_ms,
    (SELECT b.batch_id FROM batch_steps x JOIN batches b ON b.id = x.batch
        WHERE x.step = s.id ORDER BY x.attempt DESC, x.batch DESC LIMIT 1) AS batch_id,
    @UTC(@ s.created_at @)UTC@ AS created_at,
    @UTC(@ s.updated_at @)UTC@ AS updated_at,
    @UTC(@ s.last_attempted_at @)UTC@ AS last_attempted_at,
    @UTC(@ s.processed_at @)UTC@ AS processed_at,
    @UTC(@ s.next_retry_at @)UTC@ AS next_retry_at
FROM steps s LEFT JOIN tasks t ON t.task_id = s.task;

-- The dependencies of steps: which step waits, for which, and the state of that one. maybe is 1 where
-- the step waits only for steps that the other may ask for.
CREATE VIEW v_dependencies AS
SELECT d.task AS task_id, d.to_step AS step_id, w.name AS step, w.state AS step_state,
    d.from_step AS waits_for_id, f.name AS waits_for, f.state AS waits_for_state, d.choice AS maybe
FROM step_dependencies d JOIN steps w ON w.id = d.to_step JOIN steps f ON f.id = d.from_step;

-- The steps that tasker-ready would claim now, in any order.
CREATE VIEW v_ready AS
SELECT s.id AS step_id, s.task AS task_id, t.namespace, t.name AS task, s.name, s.handler_class,
    s.priority, s.attempts + 1 AS attempt, @UTC(@ s.created_at @)UTC@ AS created_at
FROM steps s JOIN tasks t ON t.task_id = s.task
WHERE s.state = 'pending' AND s.waits_for = 0 AND s.task IS NOT NULL
    AND coalesce(s.next_retry_at, 0) <= @NOW@
    AND t.state IN ('pending', 'in_progress')
    AND NOT EXISTS (SELECT 1 FROM held_namespaces h WHERE h.namespace = t.namespace);

CREATE VIEW v_batches AS
SELECT b.batch_id, b.state, b.total_steps, r.completed_steps, r.failed_steps, r.verdict, r.revision,
    (SELECT count(*) FROM discrepancies d WHERE d.batch = b.id) AS discrepancies,
    b.publisher, b.offered_to, b.accepted_by, b.result_endpoint, b.sends, b.timeout_ms,
    r.execution_ms, r.error,
    @UTC(@ b.created_at @)UTC@ AS created_at,
    @UTC(@ b.published_at @)UTC@ AS published_at,
    @UTC(@ r.first_at @)UTC@ AS first_result_at,
    @UTC(@ r.ended_at @)UTC@ AS ended_at
FROM batches b LEFT JOIN settled_batches r ON r.batch = b.id;

-- One row for each attempt of a step, in the batch that it went out with.
CREATE VIEW v_attempts AS
SELECT b.batch_id, x.sequence_order AS sequence, x.step_id, s.name, s.handler_class, x.attempt,
    coalesce(r.status, 'missing') AS status, coalesce(r.outcome, 'unknown') AS outcome,
    r.execution_ms, r.worker_id, r.error_category, r.error_message,
    @UTC(@ b.published_at @)UTC@ AS published_at,
    @UTC(@ r.retry_at @)UTC@ AS retry_at
FROM batch_steps x JOIN batches b ON b.id = x.batch JOIN steps s ON s.id = x.step
    LEFT JOIN settled_steps r ON r.batch = x.batch AND r.step_id = x.step_id;

CREATE VIEW v_discrepancies AS
SELECT b.batch_id, d.place, d.type, d.step_id, d.detail
FROM discrepancies d JOIN batches b ON b.id = d.batch;

-- What happened to tasks, steps, batches and namespaces. id is the task_id, the step's id, the batch_id
-- or the namespace; sort_key is the order within one of these.
CREATE VIEW v_history AS
SELECT 'task' AS subject, CAST(task AS TEXT) AS id, sort_key, from_state, to_state, event, origin,
    metadata, @UTC(@ created_at @)UTC@ AS at FROM task_transitions
UNION ALL
SELECT 'step', CAST(step AS TEXT), sort_key, from_state, to_state, event, origin, metadata,
    @UTC(@ created_at @)UTC@ FROM step_transitions
UNION ALL
SELECT 'batch', b.batch_id, h.sort_key, h.from_state, h.to_state, h.event, h.origin, h.metadata,
    @UTC(@ h.created_at @)UTC@ FROM batch_transitions h JOIN batches b ON b.id = h.batch
UNION ALL
SELECT 'namespace', namespace, sort_key, from_state, to_state, event, origin, metadata,
    @UTC(@ created_at @)UTC@ FROM namespace_transitions;

-- Each message as it was received; message is NULL where it cannot be read, and reason says why.
CREATE VIEW v_messages AS
SELECT id, @UTC(@ received_at @)UTC@ AS received_at, collector_id, topic, message_type, batch_id, step_id,
    source, stream_offset, reason,
    CASE WHEN reason IS NULL THEN @TEXT(@ raw_message @)TEXT@ END AS message
FROM received_results;
