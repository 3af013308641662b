-- The operator's hand (tasker-resolve). What somebody did to a step or a task is a transition of the
-- origin 'operator', whose metadata has reason and by; what was done to a namespace likewise.
-- attempts_before are those that do not count any more, since an operator has reset them: the limit
-- of a step is retry_limit + attempts_before. dropped has the step_ids, as JSON, that an operator
-- ended while their batch was not accepted yet: it is sent with them, and the worker drops them.

ALTER TABLE steps ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN dropped TEXT;
ALTER TABLE held_namespaces ADD COLUMN held_by TEXT NOT NULL DEFAULT '';

CREATE TABLE namespace_transitions (
    namespace TEXT NOT NULL,
    sort_key BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL CHECK (to_state IN ('open', 'held')),
    event TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('program', 'ledger', 'operator')),
    metadata TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, sort_key)
);
