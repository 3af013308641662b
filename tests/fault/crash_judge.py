"""What must be in the store when all is calm again after a run of the crash test."""
import json


def check_all(run):
    check_ledger(run)
    check_starts(run)
    check_outbound(run)
    check_rebuild(run)


def check_outbound(run):
    have = dict(run.store.rows('SELECT batch_id, state FROM batches'))
    for batch, steps in run.batches.items():
        failed = any(step % 29 == 0 or step % 17 == 0 for step in steps)
        if have.get(batch) != ('failed' if failed else 'completed'):
            run.fault(f'batch {batch}: {have.get(batch)}')
    if len(have) != len(run.batches):
        run.fault(f'{len(have)} batches in the store, {len(run.batches)} were published')
    states = {int(step): state for step, state in
              run.store.rows('SELECT step_id, state FROM steps')}
    for step in range(1, run.steps + 1):
        want = 'error' if step % 29 == 0 else 'pending' if step % 17 == 0 else 'complete'
        if states.get(step) != want:
            run.fault(f'step {step}: {states.get(step)}, wanted {want}')


def check_starts(run):
    starts = run.started()
    for step in range(1, run.steps + 1):
        if starts.count(f'{step} 1') != 1:
            run.fault(f'step {step} was run {starts.count(f"{step} 1")} times')
    if len(starts) != run.steps:
        run.fault(f'{len(starts)} runs of {run.steps} steps')


def check_ledger(run):
    twice = run.store.rows('SELECT source, stream_offset FROM received_results '
                            'GROUP BY source, stream_offset HAVING count(*) > 1')
    if twice:
        run.fault(f'{len(twice)} messages are in the ledger twice: {twice[:5]}')
    ends = {}
    for kind, batch, step, raw in run.store.rows(
            'SELECT message_type, batch_id, coalesce(step_id, 0), raw_message '
            "FROM received_results WHERE message_type IN ('partial_result', "
            "'batch_completion')"):
        raw = raw if isinstance(raw, bytes) else bytes.fromhex(raw[2:])
        if json.loads(raw).get('status') != 'in_progress':
            ends[(kind, batch, int(step))] = ends.get((kind, batch, int(step)), 0) + 1
    for batch, steps in run.batches.items():
        for place in [('batch_completion', batch, 0),
                      *(('partial_result', batch, step) for step in steps)]:
            if ends.pop(place, 0) != 1:
                run.fault(f'{place}: not in the ledger once')
    for place in ends:
        run.fault(f'{place}: in the ledger, and of nothing that was published')


def check_rebuild(run):
    left = run.store.rows('SELECT DISTINCT batch_id FROM unsettled')
    if left:
        run.fault(f'not settled: {left[:5]}')
    before = run.store.dump()
    run.finish('reconcile', ['tasker-reconcile', '--rebuild'], (0, 1))
    for one, other in zip(before, run.store.dump()):
        if one != other:
            lines = set(one.split('\n')) ^ set(other.split('\n'))
            run.fault(f'a rebuild changes {one.split()[0]}: {sorted(lines)[:2]}')
    for text in run.store.sound():
        run.fault(f'the database: {text}')
