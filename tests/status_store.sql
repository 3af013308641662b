-- A store with a little of everything, for the tests of tasker-status. One text for both back ends:
-- the words between @ are the time in ms (NOW), the type of bytes (BYTES), bytes by their digits
-- (HEX:), an escape character (E) and a newline (N). See fill_store in status_store.bats.

INSERT INTO tasks (task_id, namespace, name, context, state, created_at, updated_at) VALUES
    (1, 'shop', 'order', '{"order_id":12345}', 'in_progress', @NOW@ - 600000, @NOW@ - 500000),
    (2, 'shop', 'order', '{}', 'complete', @NOW@ - 500000, @NOW@ - 400000),
    (3, 'shop', 'refund', '{}', 'error', @NOW@ - 400000, @NOW@ - 300000),
    (4, 'default', 'idle', '{}', 'pending', @NOW@ - 300000, @NOW@ - 300000),
    (5, 'default', 'stopped', '{}', 'cancelled', @NOW@ - 200000, @NOW@ - 200000),
    (6, 'default', 'by_hand', 'no json', 'resolved_manually', @NOW@ - 100000, @NOW@ - 100000);

INSERT INTO steps (id, task, step_id, task_id, name, handler_class, state, attempts, created_at,
    updated_at, processed_at, timeout_ms, execution_ms, worker_id, error_category, error, results)
VALUES
    (1, 1, 1, 1, 'validate', 'Order::Validate', 'complete', 1, @NOW@ - 600000, @NOW@ - 590000,
        @NOW@ - 590000, 30000, 120, 'worker-1', NULL, NULL, '{"total":10}'),
    (2, 1, 2, 1, 'pay', 'Order::Pay', 'in_progress', 2, @NOW@ - 600000, @NOW@ - 500000,
        NULL, 30000, NULL, 'worker-1', NULL, NULL, NULL),
    (3, 1, 3, 1, 'ship', 'Order::Ship', 'pending', 0, @NOW@ - 600000, @NOW@ - 600000,
        NULL, 30000, NULL, NULL, NULL, NULL, NULL),
    (4, 2, 4, 2, 'validate', 'Order::Validate', 'complete', 1, @NOW@ - 500000, @NOW@ - 400000,
        @NOW@ - 400000, NULL, 90061, 'worker-2', NULL, NULL, '{}'),
    (5, 3, 5, 3, 'refund', 'Refund_All', 'error', 3, @NOW@ - 400000, @NOW@ - 300000,
        NULL, NULL, 45, 'worker-2', 'validation', '{"message":"no such order","error_type":"E"}', NULL),
    (6, 3, 6, 3, 'tell', 'RefundXAll', 'error', 1, @NOW@ - 400000, @NOW@ - 200000,
        NULL, NULL, 50, 'worker-2', NULL, 'it broke', NULL),
    (7, 5, 7, 5, 'never', 'Order::Ship', 'cancelled', 0, @NOW@ - 200000, @NOW@ - 200000,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (8, 6, 8, 6, 'hand', 'Order::Ship', 'resolved_manually', 0, @NOW@ - 100000, @NOW@ - 100000,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- steps of batches written by hand; two have one step_id, which is also the id of a task
INSERT INTO steps (id, step_id, task_id, name, handler_class, state, attempts, created_at,
    updated_at, execution_ms, error_category, error)
VALUES
    (9, 4, 77, 'a|b', 'By[Hand]', 'enqueued', 1, @NOW@ - 90000, @NOW@ - 90000, NULL, NULL, NULL),
    (10, 9001, 77, 'lost', 'By[Hand]', 'enqueued', 1, @NOW@ - 80000, @NOW@ - 80000, NULL, NULL, NULL),
    (11, 9001, 78, 'fresh', 'By[Hand]', 'in_progress', 1, @NOW@, @NOW@, NULL, NULL, NULL),
    (12, 666, 666, 'n"\@N@@E@[2J', 'H"\@N@x@E@]0;pwned', 'error', 1, @NOW@ - 1000, @NOW@ - 1000, 7,
        'c"\@N@@E@', '{"message":"m\u001b[31m\n\"x\"\\"}');

INSERT INTO batches (id, batch_id, total_steps, timeout_ms, body, created_at, published_at,
    accepted_by, sends, state, updated_at)
VALUES
    (1, 'b-created', 1, 90000, CAST('{}' AS @BYTES@), @NOW@ - 700000, NULL, NULL, 0, 'created',
        @NOW@ - 700000),
    (2, 'b-published', 1, 90000, CAST('{}' AS @BYTES@), @NOW@ - 90000, @NOW@ - 89000, 'worker-1', 1,
        'published', @NOW@ - 89000),
    (3, 'b-executing', 1, 90000, CAST('{}' AS @BYTES@), @NOW@ - 1000, @NOW@ - 900, 'worker-1', 1,
        'executing', @NOW@ - 800),
    (4, 'b-completed', 2, 90000, CAST('{}' AS @BYTES@), @NOW@ - 600000, @NOW@ - 599000, 'worker-1', 1,
        'completed', @NOW@ - 590000),
    (5, 'b-failed', 2, 90000, CAST('{}' AS @BYTES@), @NOW@ - 400000, @NOW@ - 399000, 'worker-2', 2,
        'failed', @NOW@ - 300000),
    (6, 'b-timeout', 1, 90000, CAST('{}' AS @BYTES@), @NOW@ - 80000, @NOW@ - 79000, 'worker-2', 1,
        'timeout', @NOW@ - 70000),
    (7, 'b-cancelled', 1, 90000, CAST('{}' AS @BYTES@), @NOW@ - 60000, NULL, NULL, 0, 'cancelled',
        @NOW@ - 60000),
    (8, '3', 1, 90000, CAST('{}' AS @BYTES@), @NOW@ - 35000, @NOW@ - 34000, 'worker-1', 1, 'executing',
        @NOW@ - 30000);

INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt) VALUES
    (1, 1, 3, 3, 1), (2, 1, 9, 4, 1), (3, 1, 11, 9001, 1), (4, 1, 1, 1, 1), (4, 2, 2, 2, 1),
    (5, 1, 5, 5, 3), (5, 2, 6, 6, 1), (6, 1, 10, 9001, 1), (7, 1, 7, 7, 1), (8, 1, 12, 666, 1);

INSERT INTO settled_batches (batch, verdict, revision, completed_steps, failed_steps, first_at,
    ended_at, completed_at, execution_ms, error)
VALUES
    (4, 'complete', 1, 2, 0, @NOW@ - 598000, @NOW@ - 590000, @NOW@ - 590000, 150, NULL),
    (5, 'failed', 2, 0, 2, @NOW@ - 398000, @NOW@ - 300000, @NOW@ - 300000, 95, NULL),
    (6, 'timed_out', 1, 0, 1, NULL, @NOW@ - 70000, NULL, NULL,
        '{"message":"out of time","error_category":"timeout"}');

INSERT INTO settled_steps (batch, step_id, attempt, status, outcome, retry_at, execution_ms,
    worker_id, error_category, error_message)
VALUES
    (4, 1, 1, 'completed', 'done', NULL, 120, 'worker-1', NULL, NULL),
    (4, 2, 1, 'failed', 'retry', @NOW@ - 580000, 10, 'worker-1', 'timeout', 'too slow'),
    (5, 5, 3, 'failed', 'failed', NULL, 45, 'worker-2', 'validation', 'no such order');

INSERT INTO discrepancies (batch, place, type, step_id, detail) VALUES
    (5, 1, 'count_mismatch', NULL, 'told 1, seen 2'), (5, 2, 'late', 6, 'after the end');

INSERT INTO batch_transitions (batch, sort_key, from_state, to_state, event, origin, created_at)
VALUES
    (4, 1, NULL, 'created', 'batch_initialization', 'program', @NOW@ - 600000),
    (4, 2, 'created', 'published', 'zmq_publish_success', 'program', @NOW@ - 599000),
    (4, 3, 'published', 'executing', 'first_result', 'ledger', @NOW@ - 598000),
    (4, 4, 'executing', 'completed', 'batch_completion', 'ledger', @NOW@ - 590000);

INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch, metadata,
    created_at)
VALUES
    (1, 1000, NULL, 'pending', 'step_created', 'program', 4, '{}', @NOW@ - 600000),
    (1, 1001, 'pending', 'enqueued', 'step_enqueued', 'program', 4, '{}', @NOW@ - 600000),
    (1, 1002, 'enqueued', 'in_progress', 'step.started', 'ledger', 4, '{}', @NOW@ - 598000),
    (1, 1003, 'in_progress', 'complete', 'step.completed', 'ledger', 4, '{"by":"worker-1"}',
        @NOW@ - 595000);

INSERT INTO task_transitions (task, sort_key, from_state, to_state, event, origin, created_at)
VALUES
    (1, 1, NULL, 'pending', 'task.created', 'program', @NOW@ - 600000),
    (1, 2, 'pending', 'in_progress', 'task.started', 'ledger', @NOW@ - 598000);

INSERT INTO received_results (id, received_at, collector_id, topic, message_type, batch_id, step_id,
    source, stream_offset, raw_message, reason)
VALUES
    (1, @NOW@ - 598000, 'c1', 'partial_result', 'partial_result', 'b-completed', 1, 'src-1', 1,
        CAST('{"message_type":"partial_result","batch_id":"b-completed","step_id":1,"status":"in_progress","attempt":1}' AS @BYTES@), NULL),
    (2, @NOW@ - 595000, 'c1', 'partial_result', 'partial_result', 'b-completed', 1, 'src-1', 2,
        CAST('{"message_type":"partial_result","batch_id":"b-completed","step_id":1,"status":"completed","attempt":1,"execution_time_ms":120,"worker_id":"worker-1"}' AS @BYTES@), NULL),
    (3, @NOW@ - 592000, 'c1', 'results', NULL, 'b-completed', NULL, 'src-1', 3,
        @HEX:7b2262617463685f6964223aff1b5b324a00@, 'not UTF-8 at byte 12'),
    (4, @NOW@ - 590000, 'c1', 'batch_completion', 'batch_completion', 'b-completed', NULL, 'src-1', 4,
        CAST('batch_completion {"message_type":"batch_completion","total_steps":2,"completed_steps":2,"failed_steps":0}' AS @BYTES@), NULL),
    (5, @NOW@ - 5000, 'c1', '@E@[2Jtopic', 'partial_result', 'b-executing', 9001, 'src-2', 1,
        @HEX:7b22737461747573223a22636f6d706c65746564222c226572726f72223a7b226d657373616765223a225c75303031625b33316d7265645c7532303265c29b324a7f227d7d@, NULL),
    (6, @NOW@ - 100000, 'c1', 'partial_result', 'partial_result', 'b-foreign', 1, NULL, NULL,
        CAST('{"status":"completed"}' AS @BYTES@), NULL),
    (7, @NOW@ - 99000, 'c1', 'partial_result', 'partial_result', 'b-foreign', 2, NULL, NULL,
        CAST('{"status":"completed"}' AS @BYTES@), NULL),
    (8, @NOW@ - 4000, 'c1', 'partial_result', NULL, NULL, NULL, 'src-2', 2, @HEX:@, 'empty'),
    (9, @NOW@ - 30000, 'c1', 'partial_result', 'partial_result', '3', 666, 'src-2', 3,
        CAST('{"status":"failed"}' AS @BYTES@), NULL);

INSERT INTO unsettled (batch_id) VALUES ('3'), ('b-executing');
