"""What can only be told at the end: whether every attempt has one outcome, whether what was lost was
reported and had to be lost, whether each start was allowed, what reconcile makes of it all, how the
programs ended."""
import json
import re
import signal
import subprocess

HIT = 5  # seconds for which a fault may have its effect


def check_all(world, chaos):
    if world.ledger.limited:
        check_reported(world)
    else:
        check_outcomes(world)
        check_early(world.ledger, chaos)
        check_verdicts(world)
        check_logs(world)
    check_steps(world.ledger)
    check_starts(world)
    check_ends(world)


def check_steps(ledger):
    for step, end in ledger.steps.items():
        want = 'failed' if step % 29 == 0 else 'completed'
        if end != want:
            ledger.fault(f'step {step}: {end}, wanted {want}')


def attempts(ledger):
    return [attempt for attempt in ledger.attempts.values() if attempt]


def name(attempt):
    return f'step {attempt.step} attempt {attempt.number} (batch {attempt.batch.id})'


def check_outcomes(world):
    """Each attempt: one result, or told as lost, and then its worker must have died."""
    ledger, by_pid = world.ledger, {process.pid: process for process in world.history}
    for attempt in attempts(ledger):
        if attempt.finals or attempt.batch.given_up:
            continue
        if not attempt.lost:
            ledger.fault(f'{name(attempt)}: no result, and nobody said so')
            continue
        receipt = attempt.batch.receipt
        process = by_pid.get(world.sources.get(receipt['source'] if receipt else None))
        if process and not process.killed and process.child.poll() == 0:
            ledger.fault(f'{name(attempt)}: told as lost, though {process.name}.{process.number} '
                         'lived and confirmed all')


def check_reported(world):
    """What is missing is what the collector said that it missed, and the worker gave up; of what was
    given up before the collector came for the first time, only the worker can tell."""
    told = given_up = 0
    for process in world.history:
        text = '\n'.join(process.errors())
        told += sum(map(int, re.findall(r'(\d+) messages? lost: it has them no more', text)))
        given_up += sum(map(int, re.findall(r'(\d+) results? w(?:as|ere) given up unconfirmed', text)))
    holes, before = world.ledger.holes(), sum(world.ledger.first.values()) - len(world.ledger.first)
    if not holes - before <= told <= holes <= given_up:
        world.ledger.fault(f'{holes} messages are missing ({before} before the first), {told} were '
                           f'told as lost, {given_up} as given up')


def check_early(ledger, chaos):
    """What was told as lost and came after all: its worker, or the way to it, had been hit."""
    def check(batch, lost, what):
        worker = int(batch.receipt['worker_id'][1:])
        if not any(lost - HIT < at <= lost for at in chaos.disturbed[worker]):
            ledger.fault(f'{what}: told as lost, and nothing had happened to w{worker}')
    for attempt in attempts(ledger):
        if attempt.lost and attempt.finals and not attempt.batch.given_up:
            check(attempt.batch, attempt.lost, name(attempt))
    for batch in ledger.batches.values():
        if batch.lost and batch.completions and not batch.given_up \
                and not any(attempt.lost for attempt in batch.attempts):
            check(batch, batch.lost, f'batch {batch.id}')


def check_starts(world):
    """An attempt that was started by two workers was given up at the first, or its publisher
    died; one that has a result was started. A handler that began as its worker was killed has
    another parent: it counts for no worker."""
    ledger, by_pid = world.ledger, {process.pid: process for process in world.history}
    gone = set()
    for process in world.history:
        if process.name == 'publisher':
            gone.update(re.findall(r'worker (w\d+): gone', '\n'.join(process.errors())))
    for attempt in attempts(ledger):
        batch, workers = attempt.batch, [by_pid[pid] for pid in attempt.starts if pid in by_pid]
        if not workers and any(status == 'completed' for _, status in attempt.finals):
            ledger.fault(f'{name(attempt)}: has a result, and was never started')
        if len(workers) < 2 or batch.doubt:
            continue
        sent = batch.receipt['attempts'] if batch.receipt else 0
        names = [f'{w.name}.{w.number}' for w in workers]
        if sent < 2 or not gone.intersection(w.name for w in workers):
            ledger.fault(f'{name(attempt)}: started by {names}, sent {sent} times')


def check_verdicts(world):
    """What tasker-reconcile says of all the lines: each batch has one verdict, and one that ran once
    has all its results and no discrepancy."""
    ledger = world.ledger
    batches = [b for b in ledger.batches.values() if b.receipt and not b.given_up]
    lines = [b.receipt for b in batches]
    lines += [message for b in batches for _, message in b.lines]
    lines += [error for error in ledger.errors if ledger.batches[error['batch_id']] in batches]
    with open(world.file('all.jsonl'), 'w', encoding='utf-8') as file:
        file.writelines(json.dumps(line) + '\n' for line in lines)
    out = subprocess.run([f'{world.bin}/tasker-reconcile', world.file('all.jsonl')], check=False,
                         stdout=subprocess.PIPE, timeout=60, env=world.environment).stdout
    verdicts = {v['batch_id']: v for v in map(json.loads, out.splitlines())}
    for batch in batches:
        once = batch.completions and not batch.doubt and not batch.lost and all(
            len(a.finals) == 1 and len(a.starts) < 2 for a in batch.attempts)
        verdict = verdicts.pop(batch.id, None)
        if not verdict:
            ledger.fault(f'batch {batch.id}: no verdict')
        elif once and verdict['verdict'] != 'consistent':
            ledger.fault(f'batch {batch.id} ran once: {verdict["verdict"]}, '
                         f'{verdict["discrepancies"]}')
    for batch_id in verdicts:
        ledger.fault(f'batch {batch_id}: a verdict of nothing, or a second one')


def check_logs(world):
    """Words that no run may bring about: no outbox is near its limits, and all peers are ours."""
    bad = re.compile(r'messages? lost: it has them no more|given up unconfirmed|cannot be read|'
                     r'dropped: no more|forgotten|Sanitizer|runtime error|a peer sent')
    for process in world.history:
        for line in process.errors():
            if bad.search(line):
                world.ledger.fault(f'{process.name}.{process.number}: {line}')


def check_ends(world):
    for process in world.history:
        status = process.child.poll()
        if status is None:
            world.ledger.fault(f'{process.name}.{process.number} still runs')
        elif status == -signal.SIGTERM and process.told and not process.errors():
            continue  # it was told to end before it had begun
        elif status < 0 and not (process.killed and -status == signal.SIGKILL):
            world.ledger.fault(f'{process.name}.{process.number} died of signal {-status}')
        elif status > 0 and not (process.name[0] == 'w' and status == 75):
            world.ledger.fault(f'{process.name}.{process.number} ended with {status}')


def figures(world, chaos):
    """One line of what the run was like."""
    ledger = world.ledger
    all_of = attempts(ledger)
    lost = [a for a in all_of if a.lost and not a.finals]
    doubles = [a for a in all_of if len(a.starts) > 1]
    holes = f'{ledger.holes()} messages missing; ' if ledger.limited else ''
    doubt = [a for a in doubles if a.batch.doubt]
    early = [a for a in all_of if a.lost and a.finals]
    return (f'{len(ledger.steps)} steps, {len(all_of)} attempts, '
            f'{sum(len(a.starts) for a in all_of)} starts, {ledger.results} messages; '
            f'{sum(chaos.count.values())} faults; {holes}told as lost {len(lost)}, '
            f'given up too early {len(early)}, started twice {len(doubles)} '
            f'({len(doubt)} by the end of a publisher), '
            f'results received again {ledger.copies}')
