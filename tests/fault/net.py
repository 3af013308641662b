"""The networks on which the programs meet: a relay on loopback, or namespaces joined by veth pairs.

Both have the same calls. A network of its own (namespaces) needs the right to make one; it is gone
when the processes that hold it are."""
import os
import random
import socket
import subprocess
import sys

from programs import die_with_parent

HERE = os.path.dirname(os.path.abspath(__file__))


def own_host():
    """A loopback address that no other run has at the same time. Ports alone would not do: while a
    worker is dead its port is free, and a worker of another run that took it would be heard."""
    pid = os.getpid()
    return f'127.{64 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}'


def free_ports(host, count):
    """Ports of this address below those that the kernel gives out by itself."""
    ports = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class Relayed:
    """Each worker has two links: b for batches (it connects), r for results (collectors do)."""

    can_cut = True
    settings = {}

    def __init__(self, workers, environment, no_replay):
        self.host = own_host()
        ports = free_ports(self.host, 1 + 3 * workers)
        self.publisher, self.ports = ports[0], [ports[1 + 3 * i:4 + 3 * i] for i in range(workers)]
        self.relay = subprocess.Popen(
            [sys.executable, '-u', os.path.join(HERE, 'relay.py'), self.host], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        for i in range(workers):
            self.listen(i)
            if no_replay:
                self.tell(f'eat r{i} replay')

    def listen(self, i):
        batch, result, front = self.ports[i]
        self.tell(f'listen b{i} {batch} {self.publisher}')
        self.tell(f'listen r{i} {front} {result}')

    def tell(self, command):
        self.relay.stdin.write(command + '\n')
        self.relay.stdin.flush()
        if not self.relay.stdout.readline():
            raise RuntimeError(f'the relay died at: {command}')

    def batch_bind(self):
        return f'tcp://{self.host}:{self.publisher}'

    def batch_endpoint(self, i):
        return f'tcp://{self.host}:{self.ports[i][0]}'

    def result_bind(self, i):
        return f'tcp://{self.host}:{self.ports[i][1]}'

    def result_endpoint(self, i, _told=None):
        return f'tcp://{self.host}:{self.ports[i][2]}'

    def endpoints(self):
        return ','.join(self.result_endpoint(i) for i in range(len(self.ports)))

    def wrap(self, command, _i=None):
        return command

    def hold(self, i, way, channel):
        for letter in channel:
            self.tell(f'hold {letter}{i} {way}')

    def cut(self, i, channel):
        for letter in channel:
            self.tell(f'cut {letter}{i}')

    def delay(self, i, ms):
        for letter in 'br':
            self.tell(f'delay {letter}{i} {ms}')

    def heal(self, i):
        self.hold(i, 'none', 'br')
        self.delay(i, 0)

    def close(self):
        self.relay.stdin.close()
        self.relay.wait()


class Swapped(Relayed):
    """The same with bind and connect swapped: workers bind for batches, the collector for results."""

    settings = {'TASKER_ZEROMQ_BATCH_BIND': 'worker', 'TASKER_ZEROMQ_RESULT_BIND': 'collector'}

    def listen(self, i):
        batch, result, front = self.ports[i]
        self.tell(f'listen b{i} {batch} {front}')
        self.tell(f'listen r{i} {result} {self.publisher}')

    def batch_bind(self):
        return ','.join(f'tcp://{self.host}:{ports[0]}' for ports in self.ports)

    def batch_endpoint(self, i):
        return f'tcp://{self.host}:{self.ports[i][2]}'

    def result_endpoint(self, _i, _told=None):
        return None

    def endpoints(self):
        return f'tcp://{self.host}:{self.publisher}'


class Namespaces:
    """A namespace for publisher and collector, and one for each worker, with a cable to each."""

    can_cut = False
    settings = {}

    def __init__(self, workers, environment, _no_replay):
        self.holders = []
        self.environment = environment
        self.base = self.holder()
        self.workers = [self.holder() for _ in range(workers)]
        for i, holder in enumerate(self.workers):
            self.ip(self.base, f'link add cable{i} type veth peer name cable netns {holder.pid}')
            self.ip(self.base, f'addr add 10.77.{i}.1/30 dev cable{i}')
            self.ip(self.base, f'link set cable{i} up')
            self.ip(holder, f'addr add 10.77.{i}.2/30 dev cable')
            self.ip(holder, 'link set cable up')

    @staticmethod
    def possible():
        """Whether this machine lets us: tried, not guessed."""
        try:
            return subprocess.run(
                ['unshare', '-n', 'ip', 'link', 'add', 'cable0', 'type', 'veth', 'peer', 'name',
                 'cable1'], capture_output=True, timeout=10, check=False).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    def holder(self):
        process = subprocess.Popen(
            ['unshare', '-n', 'sh', '-c', 'ip link set lo up && echo up && exec cat'],
            env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=die_with_parent)
        self.holders.append(process)
        if process.stdout.readline() != b'up\n':
            raise RuntimeError('no network namespace')
        return process

    def ip(self, holder, arguments):
        subprocess.run(['nsenter', '-t', str(holder.pid), '-n', 'ip', *arguments.split()],
                       check=True, timeout=10, stdin=subprocess.DEVNULL)

    def batch_bind(self):
        return 'tcp://0.0.0.0:5555'

    def batch_endpoint(self, i):
        return f'tcp://10.77.{i}.1:5555'

    def result_bind(self, i):
        return f'tcp://10.77.{i}.2:*'

    def result_endpoint(self, _i, told=None):
        return told

    def endpoints(self):
        return 'tcp://127.0.0.1:1'  # nobody: it learns of all from the receipts

    def wrap(self, command, i=None):
        holder = self.base if i is None else self.workers[i]
        return ['nsenter', '-t', str(holder.pid), '-n', *command]

    def hold(self, i, way, _channel):
        self.ip(self.base, f'link set cable{i} {"up" if way == "none" else "down"}')

    def heal(self, i):
        self.hold(i, 'none', None)

    def close(self):
        for holder in self.holders:
            holder.stdin.close()
            holder.wait()
