"""The account of a run: what was published, started, delivered, and reported as lost.

Every step is published as attempt 1; what failed and may be tried again, and what was reported as
lost, is published again as the next attempt, so that in the end every step must have ended. Each
rule that a message breaks is noted at once as a fault of the programs; judge.py adds those that
can only be told at the end."""
import json
import time


class Attempt:
    """One attempt of one step: in one batch, with what became of it."""

    def __init__(self, step, number, batch):
        self.step, self.number, self.batch = step, number, batch
        self.finals = []   # (source, status), each result once
        self.starts = []   # pids of the workers that started it
        self.lost = None   # when it was reported as lost


class Batch:
    def __init__(self, batch_id, attempts):
        self.id, self.attempts = batch_id, attempts
        self.receipt = None
        self.doubt = 0      # publishers that died with it unanswered
        self.given_up = False  # it is not to be waited for: published again under another name
        self.closed = False    # completion, or told as lost
        self.lost = None       # when it was told as lost, be it for its completion alone
        self.completions = []
        self.lines = []        # its results: (number of the collector, message)


class Ledger:
    def __init__(self, limited=False):
        self.limited = limited  # outboxes are so small that results must be lost; each is reported
        self.newest = {}      # source: the last offset that it says it has used
        self.received = {}    # source: how many there are of it
        self.first = {}       # source: the first offset that came
        self.batches, self.attempts, self.steps = {}, {}, {}
        self.errors = []      # batch_error lines
        self.last = {}        # source: the last offset there is of it
        self.sequence = {}    # (source, batch, step): the last sequence
        self.again = []       # (step, attempt) to be published next
        self.faults = []
        self.copies = 0       # messages that came to more than one collector
        self.late = 0         # results of attempts that were told as lost
        self.results = 0

    def fault(self, text):
        self.faults.append(text)

    # ---- what goes out

    def publish(self, batch_id, pairs):
        batch = Batch(batch_id, [])
        for step, number in pairs:
            attempt = Attempt(step, number, batch)
            batch.attempts.append(attempt)
            self.attempts[step, number] = attempt
            self.steps.setdefault(step, None)
        self.batches[batch_id] = batch
        return batch

    def retry(self, attempt):
        """The next attempt, unless there is one or the step has ended."""
        step, number = attempt.step, attempt.number + 1
        if self.steps[step] is None and (step, number) not in self.attempts:
            self.attempts[step, number] = None
            self.again.append((step, number))

    def give_up(self, batch):
        batch.given_up = True
        for attempt in batch.attempts:
            self.retry(attempt)

    # ---- what comes back

    def receipt(self, line):
        message = json.loads(line)
        batch = self.batches.get(message['batch_id'])
        if message['message_type'] == 'batch_error':
            self.fault(f'batch {batch.id}: refused: {message["error"]["message"]}')
        elif batch.receipt:
            if not batch.doubt:
                self.fault(f'batch {batch.id}: two receipts')
        else:
            batch.receipt = message
            return batch
        return None

    def take(self, message, collector):
        """A line that a collector printed."""
        kind = message['message_type']
        if kind == 'batch_error' and 'offset' not in message:
            self.told_lost(message)
            return
        if kind not in ('partial_result', 'batch_completion', 'batch_error'):
            return
        if self.is_new(message['source'], message['offset'], collector.heard):
            self.results += 1
            self.batches[message['batch_id']].lines.append((collector.number, message))
            if kind == 'partial_result':
                self.partial(message)
            elif kind == 'batch_completion':
                self.completion(message)

    def is_new(self, source, offset, heard):
        before = heard.get(source)
        if before is not None and offset != before + 1 and not self.limited:
            self.fault(f'source {source}: a collector printed {offset} after {before}')
        heard[source] = offset
        last = self.last.get(source, 0)
        if offset <= last:
            self.copies += 1
            return False
        if offset != last + 1 and not self.limited:
            self.fault(f'source {source}: {last + 1} to {offset - 1} never came')
        self.last[source] = offset
        self.first.setdefault(source, offset)
        self.received[source] = self.received.get(source, 0) + 1
        return True

    def partial(self, message):
        key = message['source'], message['batch_id'], message['step_id']
        if message['sequence'] != self.sequence.get(key, 0) + 1 and not self.limited:
            self.fault(f'{key}: sequence {message["sequence"]} after {self.sequence.get(key, 0)}')
        self.sequence[key] = message['sequence']
        attempt = self.attempts.get((message['step_id'], message['attempt']))
        if not attempt or attempt.batch.id != message['batch_id']:
            self.fault(f'a result that nobody published: {message}')
        elif message['status'] != 'in_progress':
            self.ended(attempt, message)

    def ended(self, attempt, message):
        self.late += attempt.lost is not None
        if any(source == message['source'] for source, _ in attempt.finals):
            self.fault(f'step {attempt.step} attempt {attempt.number}: ended twice at one worker')
        attempt.finals.append((message['source'], message['status']))
        if message['status'] == 'completed' or not message['retryable']:
            if self.steps[attempt.step] is None:
                self.steps[attempt.step] = message['status']
        else:
            self.retry(attempt)

    def completion(self, message):
        batch = self.batches[message['batch_id']]
        if self.limited:
            self.by_summary(batch, message)
        for attempt in batch.attempts:
            if not any(source == message['source'] for source, _ in attempt.finals):
                self.fault(f'batch {batch.id}: complete before step {attempt.step}')
        if message['source'] in batch.completions:
            self.fault(f'batch {batch.id}: completed twice by one worker')
        batch.completions.append(message['source'])
        batch.closed = True

    def by_summary(self, batch, message):
        """Where the result of a step was lost, the completion still says how it ended."""
        ends = {one['step_id']: one['final_status'] for one in message['step_summaries']}
        for attempt in batch.attempts:
            if not any(source == message['source'] for source, _ in attempt.finals):
                self.ended(attempt, {'source': message['source'], 'status': ends[attempt.step],
                                     'retryable': attempt.step % 29 != 0})

    def told_lost(self, message):
        batch = self.batches[message['batch_id']]
        self.errors.append(message)
        batch.closed, batch.lost = True, batch.lost or time.monotonic()
        missing = set(message.get('missing_step_ids', []))
        for attempt in batch.attempts:
            if attempt.step in missing and not attempt.finals:
                attempt.lost = attempt.lost or time.monotonic()
                self.retry(attempt)

    def start(self, line):
        step, number, pid = map(int, line.split())
        attempt = self.attempts.get((step, number))
        if not attempt:
            self.fault(f'started but never published: step {step} attempt {number}')
            return
        if pid in attempt.starts:
            self.fault(f'step {step} attempt {number}: started twice by worker process {pid}')
        attempt.starts.append(pid)

    def holes(self):
        """How many messages never came."""
        return sum(newest - self.received.get(source, 0) for source, newest in self.newest.items())

    def settled(self):
        return not self.again and all(self.steps.values()) and \
            all(b.closed or b.given_up for b in self.batches.values())
