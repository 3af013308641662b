"""The programs under test as processes that can be killed, stopped, continued and started again.

Each start is one Process with a log of its own (NAME.N.err). All die with the harness (the parent's
death signal), and all have its mark in their environment, by which what is left is found."""
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_by_signals():
    """From now on SIGALRM (out of time) and SIGTERM raise, so that each `finally` is gone through."""
    def raise_it(number, _frame):
        if number == signal.SIGALRM:
            raise TimeoutError('out of time')
        sys.exit(128 + number)
    signal.signal(signal.SIGALRM, raise_it)
    signal.signal(signal.SIGTERM, raise_it)


class Process:
    """One start of a program."""

    def __init__(self, folder, name, number, command, environment, stdin=None, stdout=None):
        self.name, self.number, self.stopped = name, number, False
        self.log = f'{folder}/{name}.{number}.err'
        self.killed = self.told = False  # whether it got KILL, or TERM
        with open(self.log, 'wb') as log:
            self.child = subprocess.Popen(command, env=environment, cwd=folder, stderr=log,
                                          stdin=stdin if stdin is not None else subprocess.DEVNULL,
                                          stdout=stdout if stdout is not None else log,
                                          preexec_fn=die_with_parent)
        self.pid = self.child.pid
        self.started = time.monotonic()

    def runs(self):
        return self.child.poll() is None

    def send(self, number):
        if not self.runs():
            return
        self.child.send_signal(number)
        if number == signal.SIGSTOP:
            self.stopped = True
        elif number == signal.SIGCONT:
            self.stopped = False
        elif number == signal.SIGKILL:
            self.killed = True
        else:
            self.told = True

    def kill(self):
        self.send(signal.SIGKILL)
        self.child.wait()

    def errors(self):
        with open(self.log, encoding='utf-8', errors='replace') as log:
            return log.read().splitlines()


class Feed:
    """Lines to a process that may be slow to read them, or be stopped."""

    def __init__(self, pipe):
        self.fd, self.data, self.open = pipe.fileno(), b'', True
        self.pipe = pipe
        os.set_blocking(self.fd, False)

    def add(self, text):
        self.data += text.encode()

    def pump(self):
        while self.open and self.data:
            try:
                self.data = self.data[os.write(self.fd, self.data):]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self.open = False

    def close(self):
        self.open = False
        try:
            self.pipe.close()
        except BrokenPipeError:
            pass


class Tail:
    """Reads the whole lines that come to a file."""

    def __init__(self, path):
        self.path, self.place, self.rest = path, 0, b''

    def lines(self):
        with open(self.path, 'rb') as file:
            file.seek(self.place)
            data = file.read()
        self.place += len(data)
        *lines, self.rest = (self.rest + data).split(b'\n')
        return lines


def marked(mark):
    """Returns the processes that have the mark in their environment: pid and command."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/environ', 'rb') as file:
                if mark.encode() not in file.read().split(b'\0'):
                    continue
            with open(f'/proc/{pid}/cmdline', 'rb') as file:
                found.append((int(pid), file.read().replace(b'\0', b' ').decode(errors='replace')))
        except OSError:
            continue
    return found
