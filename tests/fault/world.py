"""The programs of one run and how lines go between them: batches to the publisher, its receipts to
the collector, results from there to the ledger."""
import json
import os
import signal
import subprocess

from ledger import Ledger
from programs import Feed, Process, Tail

PIPE_MOST = 1 << 16
SETTINGS = {
    'TASKER_ZEROMQ_HEARTBEAT_INTERVAL': '400ms', 'TASKER_ZEROMQ_RESEND_AFTER': '300ms',
    'TASKER_ZEROMQ_RECONNECT_MAX': '200ms', 'TASKER_ZEROMQ_SILENCE_TIMEOUT': '6s',
    'TASKER_WORKER_DRAIN_TIMEOUT': '1s', 'TASKER_WORKER_CONFIRM_TIMEOUT': '3s',
    'TASKER_WORKER_KILL_GRACE': '300ms', 'TASKER_WORKER_MAX_WORKERS': '4',
    'TASKER_WORKER_QUEUE_LIMIT': '40', 'TASKER_ZEROMQ_WAIT': '60s', 'TASKER_STORE_URL': 'none'}
# Says what it starts, then ends as the number of the step has it: most well, some slowly, some
# with a failure that may be tried again, some for good.
HANDLER = '''echo "$TASKER_STEP_ID $TASKER_ATTEMPT $PPID" >>"$1" || exit 70
test $((TASKER_STEP_ID % 29)) -ne 0 || exit 65
test $((TASKER_STEP_ID % 17)) -ne 0 || test $TASKER_ATTEMPT -gt 1 || exit 75
test $((TASKER_STEP_ID % 7)) -ne 0 || exec sleep 0.0$((TASKER_STEP_ID % 10))'''


class World:
    def __init__(self, folder, bin_folder, net, workers, environment, outbox):
        self.folder, self.bin, self.net = folder, bin_folder, net
        self.environment = dict(environment, **SETTINGS, **net.settings)
        if outbox:
            self.environment['TASKER_ZEROMQ_OUTBOX_LIMIT'] = str(outbox)
        self.ledger = Ledger(limited=bool(outbox))
        self.starts = Tail(self.file('starts'))
        self.handlers = self.file('handlers.yaml')
        with open(self.handlers, 'w', encoding='utf-8') as file:
            json.dump({'handlers': {'Fault::Step': {'command': [
                '/bin/sh', '-c', HANDLER, 'step', self.starts.path]}}}, file)
        open(self.starts.path, 'wb').close()
        self.workers = [None] * workers
        self.history = []       # every process ever started
        self.sources = {}       # source: pid, as the worker_status lines have it
        self.publisher = self.collector = None
        self.reading = True     # the collector's output: it is slow while this is off
        self.numbers = {}

    def file(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, command, i=None, **kw):
        self.numbers[name] = self.numbers.get(name, 0) + 1
        path = os.path.join(self.bin, command[0])
        process = Process(self.folder, name, self.numbers[name],
                          self.net.wrap([path, *command[1:]], i), self.environment, **kw)
        self.history.append(process)
        return process

    def start_worker(self, i):
        self.workers[i] = self.start(f'w{i}', [
            'tasker-work', '-v', '--handlers', self.handlers, '--id', f'w{i}',
            '--batch-endpoint', self.net.batch_endpoint(i),
            '--result-endpoint', self.net.result_bind(i)], i)

    def start_publisher(self):
        name = self.file(f'receipts.{self.numbers.get("publisher", 0) + 1}')
        with open(name, 'wb') as out:
            self.publisher = self.start('publisher', [
                'tasker-publish', '-v', '--batch-endpoint', self.net.batch_bind()],
                stdin=subprocess.PIPE, stdout=out)
        self.publisher.feed = Feed(self.publisher.child.stdin)
        self.publisher.receipts = Tail(name)

    def start_collector(self):
        self.collector = self.start('collector', [
            'tasker-collect', '-v', '--follow', '--status', '--id', 'fault', '--result-endpoint',
            self.net.endpoints()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.collector.feed = Feed(self.collector.child.stdin)
        self.collector.out = self.collector.child.stdout.fileno()
        os.set_blocking(self.collector.out, False)
        self.collector.rest, self.collector.heard, self.collector.end = b'', {}, False
        for batch in self.ledger.batches.values():
            if batch.receipt and not batch.closed:
                self.tell_receipt(batch)

    def tell_receipt(self, batch):
        """To the collector: the receipt, and what collectors before this one printed of it."""
        i = int(batch.receipt['worker_id'][1:])
        endpoint = self.net.result_endpoint(i, batch.receipt['result_endpoint'])
        line = json.dumps(dict(batch.receipt, result_endpoint=endpoint))
        self.collector.feed.add(line + '\n')
        for number, message in batch.lines:
            if number != self.collector.number:
                self.collector.feed.add(json.dumps(dict(message, echo=1)) + '\n')

    def publish(self, batch):
        steps = [{'step_id': a.step, 'task_id': 1, 'step_name': f's{a.step}',
                  'handler_class': 'Fault::Step', 'metadata': {'attempt': a.number}}
                 for a in batch.attempts]
        self.publisher.feed.add(json.dumps({'batch_id': batch.id, 'steps': steps}) + '\n')

    # ---- what the programs say

    def pump(self):
        for line in self.publisher.receipts.lines():
            batch = self.ledger.receipt(line)
            if batch and batch.receipt and not batch.closed:
                self.tell_receipt(batch)
        for line in self.starts.lines():
            self.ledger.start(line)
        self.publisher.feed.pump()
        self.collector.feed.pump()
        if self.reading:
            self.read_results()

    def read_results(self):
        c = self.collector
        while not c.end:
            try:
                data = os.read(c.out, PIPE_MOST)
            except BlockingIOError:
                return
            c.end = not data
            *lines, c.rest = (c.rest + data).split(b'\n')
            for line in lines:
                self.take(json.loads(line))

    def take(self, message):
        if message['message_type'] == 'worker_status':
            self.sources[message['source']] = message['pid']
            self.ledger.newest[message['source']] = message['offset']
        elif 'echo' not in message:
            self.ledger.take(message, self.collector)

    # ---- ends

    def kill_publisher(self, rng):
        self.publisher.kill()
        self.publisher.feed.close()
        self.pump()
        for batch in list(self.ledger.batches.values()):
            if batch.receipt or batch.given_up:
                continue
            batch.doubt += 1
            if rng.random() < 0.5:
                self.ledger.give_up(batch)
        self.start_publisher()
        for batch in self.ledger.batches.values():
            if not batch.receipt and not batch.given_up:
                self.publish(batch)

    def end_collector(self, number):
        """Ends it and reads what it wrote."""
        self.collector.send(signal.SIGCONT)
        self.collector.send(number)
        while not self.collector.end:
            os.set_blocking(self.collector.out, True)
            self.read_results()
        self.collector.child.wait()
        self.collector.feed.close()
        if self.collector.rest and number != signal.SIGKILL:
            self.ledger.fault(f'the collector ended in the middle of a line: {self.collector.rest}')

    def close(self):
        for process in self.history:
            if process.runs():
                process.kill()
