-- The first schema of the store. One text for both back ends; the words between @ are:
--   @ID@     a 64-bit key that the database gives     @BYTES@  bytes as they came
-- Times are milliseconds since 1970 (UTC), truth values 0 and 1, JSON is text.
--
-- Who writes what (and nobody else):
--   outbound  tasks, steps, step_dependencies, batches, batch_steps, and transitions whose origin is
--             'program': submit, ready, publish
--   ledger    received_results, unsettled: collect (and publish and reconcile, for what collect
--             cannot know)
--   operator  transitions whose origin is 'operator': resolve, which settles what it touches
--   derived   settled_batches, settled_steps, discrepancies, transitions whose origin is 'ledger',
--             the columns state to worker_id of steps, state of batches and of tasks, and the steps
--             and dependencies that outputs ask for: reconcile. They are a function of the others,
--             and can be made again at any time. (A claim sets the state of its steps and tasks at
--             once, as reconcile would.)

CREATE TABLE tasks (
    task_id @ID@,
    namespace TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    version TEXT NOT NULL DEFAULT '0.1.0',
    context TEXT NOT NULL DEFAULT '{}',
    initiator TEXT,
    source_system TEXT,
    reason TEXT,
    tags TEXT,
    bypass_steps TEXT,
    priority INTEGER NOT NULL DEFAULT 0,
    correlation_id TEXT,
    identity_hash TEXT UNIQUE,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'in_progress', 'complete', 'error', 'cancelled', 'resolved_manually')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX tasks_by_state ON tasks (state, created_at);
CREATE INDEX tasks_newest ON tasks (created_at);

-- A step of a task has its id as step_id. One that came in a batch written by hand, which no task
-- here knows, has no task and the ids that it came with; those are only unique within its batch.
CREATE TABLE steps (
    id @ID@,
    task BIGINT REFERENCES tasks (task_id) ON DELETE CASCADE,
    step_id BIGINT NOT NULL CHECK (step_id > 0),
    task_id BIGINT NOT NULL CHECK (task_id > 0),
    name TEXT NOT NULL,
    handler_class TEXT NOT NULL,
    handler_config TEXT NOT NULL DEFAULT '{}',
    retry_limit INTEGER NOT NULL DEFAULT 3 CHECK (retry_limit >= 0),
    timeout_ms BIGINT,
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'enqueued', 'in_progress',
        'complete', 'error', 'cancelled', 'resolved_manually')),
    updated_at BIGINT NOT NULL,
    last_attempted_at BIGINT,
    processed_at BIGINT,
    next_retry_at BIGINT,
    retryable INTEGER NOT NULL DEFAULT 1 CHECK (retryable IN (0, 1)),
    results TEXT,
    error TEXT,
    error_category TEXT,
    execution_ms BIGINT,
    worker_id TEXT,
    CHECK (task IS NULL OR (step_id = id AND task_id = task))
);
CREATE UNIQUE INDEX steps_of_task ON steps (task, name) WHERE task IS NOT NULL;
CREATE INDEX steps_by_state ON steps (state, created_at);
CREATE INDEX steps_newest ON steps (created_at);
CREATE INDEX steps_by_wire_id ON steps (step_id);
CREATE INDEX steps_slowest ON steps (execution_ms) WHERE execution_ms IS NOT NULL;
CREATE INDEX steps_in_error ON steps (error_category, handler_class, updated_at)
    WHERE error_category IS NOT NULL;

CREATE TABLE step_dependencies (
    from_step BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    to_step BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    PRIMARY KEY (from_step, to_step),
    CHECK (from_step <> to_step)
);
CREATE INDEX step_dependencies_back ON step_dependencies (to_step);

-- body is the batch as it is sent, so that what was not accepted can be sent after an outage. While it
-- is created, publisher is who may send it until claimed_until, and offered_to is the worker that it
-- was last sent to, or was about to be: if nobody could record that it was accepted, that one knows
-- it.
CREATE TABLE batches (
    id @ID@,
    batch_id TEXT NOT NULL UNIQUE,
    publisher TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    offered_to TEXT,
    total_steps INTEGER NOT NULL CHECK (total_steps > 0),
    timeout_ms BIGINT NOT NULL CHECK (timeout_ms > 0),
    body @BYTES@ NOT NULL,
    created_at BIGINT NOT NULL,
    published_at BIGINT,
    accepted_by TEXT,
    source TEXT,
    result_endpoint TEXT,
    delivery TEXT,
    sends INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'created' CHECK (state IN ('created', 'published', 'executing',
        'completed', 'failed', 'timeout', 'cancelled')),
    updated_at BIGINT NOT NULL
);
CREATE INDEX batches_by_state ON batches (state, created_at);
CREATE INDEX batches_newest ON batches (created_at);
CREATE INDEX batches_unsent ON batches (publisher, created_at, id) WHERE state = 'created';

CREATE TABLE batch_steps (
    batch BIGINT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    sequence_order INTEGER NOT NULL,
    step BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    step_id BIGINT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt > 0),
    PRIMARY KEY (batch, sequence_order),
    UNIQUE (batch, step_id)
);
CREATE UNIQUE INDEX batch_steps_by_step ON batch_steps (step, attempt, batch);

-- The ledger: append-only, every message as it came: topic, and in raw_message what follows it. (If
-- the topic is no printable text, topic is empty and raw_message the whole.) source and
-- stream_offset are its identity, by which it is here once. They are those of the reliable stream; a
-- message of none has a place of its collector's ("collector:UUID" and a number), and one that a
-- program of tasker made of what it saw, and others may see too, has a source that they all make
-- ("lost:BATCH_ID"). message_type and step_id are NULL where a message is several results or cannot
-- be read; reason then says why.
CREATE TABLE received_results (
    id @ID@,
    received_at BIGINT NOT NULL,
    collector_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    message_type TEXT,
    batch_id TEXT,
    step_id BIGINT,
    source TEXT,
    stream_offset BIGINT,
    raw_message @BYTES@ NOT NULL,
    reason TEXT
);
CREATE UNIQUE INDEX received_results_once ON received_results (source, stream_offset)
    WHERE source IS NOT NULL;
CREATE INDEX received_results_of_batch ON received_results (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX received_results_by_time ON received_results (received_at);
CREATE INDEX received_results_malformed ON received_results (received_at) WHERE reason IS NOT NULL;

-- Batches of which the ledger has news that reconcile has not looked at: one row a batch and
-- transaction of collect. Whoever settles a batch takes its rows away first, in one transaction. Who
-- changes anything else that its state follows from (an operator, a late acceptance) marks it, too.
CREATE TABLE unsettled (
    id @ID@,
    batch_id TEXT NOT NULL
);
CREATE INDEX unsettled_of_batch ON unsettled (batch_id);

CREATE TABLE settled_batches (
    batch BIGINT PRIMARY KEY REFERENCES batches (id) ON DELETE CASCADE,
    verdict TEXT NOT NULL,
    revision INTEGER NOT NULL,
    completed_steps INTEGER NOT NULL,
    failed_steps INTEGER NOT NULL,
    first_at BIGINT,
    ended_at BIGINT,
    completed_at BIGINT,
    execution_ms BIGINT,
    error TEXT
);
CREATE INDEX settled_batches_slowest ON settled_batches (execution_ms) WHERE execution_ms IS NOT NULL;
CREATE INDEX settled_batches_in_error ON settled_batches (batch) WHERE error IS NOT NULL;

CREATE TABLE settled_steps (
    batch BIGINT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    step_id BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('missing', 'in_progress', 'completed', 'failed')),
    outcome TEXT NOT NULL CHECK (outcome IN ('unknown', 'done', 'retry', 'failed')),
    retry_at BIGINT,
    execution_ms BIGINT,
    worker_id TEXT,
    error_category TEXT,
    error_message TEXT,
    PRIMARY KEY (batch, step_id)
);

CREATE TABLE discrepancies (
    batch BIGINT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    type TEXT NOT NULL,
    step_id BIGINT,
    detail TEXT NOT NULL,
    PRIMARY KEY (batch, place)
);

-- origin: 'program' (outbound), 'ledger' (derived), 'operator'. sort_key orders the transitions of
-- one subject and is made so that it does not depend on when they were written: for a step
-- attempt * 1000 + place, where places from 100 on are an operator's (include/tasker/state.h).
CREATE TABLE task_transitions (
    task BIGINT NOT NULL REFERENCES tasks (task_id) ON DELETE CASCADE,
    sort_key BIGINT NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    event TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('program', 'ledger', 'operator')),
    metadata TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    PRIMARY KEY (task, sort_key)
);

CREATE TABLE step_transitions (
    step BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    sort_key BIGINT NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    event TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('program', 'ledger', 'operator')),
    batch BIGINT REFERENCES batches (id) ON DELETE CASCADE,
    metadata TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    PRIMARY KEY (step, sort_key)
);
CREATE INDEX step_transitions_of_batch ON step_transitions (batch, created_at);

CREATE TABLE batch_transitions (
    batch BIGINT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    sort_key BIGINT NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    event TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('program', 'ledger', 'operator')),
    metadata TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    PRIMARY KEY (batch, sort_key)
);
