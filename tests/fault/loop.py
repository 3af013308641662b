"""The running loop with its stages killed at random.

    loop.py --seed N --kills K [--seconds S]

Runs tasker-work and the pipe of tasker-ready, -publish, -collect and -reconcile as a supervisor would,
on the store and with the handlers that the environment names, until all tasks have ended. K times it
kills one of the five, drawn by the seed, with SIGKILL; the rest of a broken pipe is ended and the
pipe started again. Ends with 1 if tasks are left after S seconds, or if the work had ended before K
programs were killed. What came of it is the caller's to look at."""

import argparse
import os
import random
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from stores import rows_at  # noqa: E402

STAGES = [["tasker-ready", "--follow"], ["tasker-publish"], ["tasker-collect"],
          ["tasker-reconcile", "--follow", "--settle", "100ms"]]
URL = os.environ["TASKER_STORE_URL"]


class Loop:
    def __init__(self):
        self.log = open("loop.log", "a")
        self.pipe = []
        self.worker = None

    def start(self):
        if self.worker is None or self.worker.poll() is not None:
            self.worker = subprocess.Popen(["tasker-work"], stdin=subprocess.DEVNULL,
                                           stdout=self.log, stderr=self.log)
        if self.pipe and all(stage.poll() is None for stage in self.pipe):
            return
        self.end_pipe()
        before = subprocess.DEVNULL
        for place, command in enumerate(STAGES):
            last = place == len(STAGES) - 1
            stage = subprocess.Popen(command, stdin=before, stderr=self.log,
                                     stdout=self.log if last else subprocess.PIPE)
            if before is not subprocess.DEVNULL:
                before.close()
            before = stage.stdout
            self.pipe.append(stage)

    def end_pipe(self):
        for stage in self.pipe:
            if stage.poll() is None:
                stage.send_signal(signal.SIGTERM)
        for stage in self.pipe:
            try:
                stage.wait(2)
            except subprocess.TimeoutExpired:
                stage.kill()
                stage.wait()
        self.pipe = []

    def kill(self, place):
        """Whether it was there to be killed."""
        victim = (self.pipe + [self.worker])[place]
        name = (STAGES + [["tasker-work"]])[place][0]
        if victim.poll() is not None:
            return False
        print("kill", name, file=self.log, flush=True)
        victim.kill()
        victim.wait()
        return True

    def end(self):
        self.end_pipe()
        self.worker.terminate()
        try:
            self.worker.wait(20)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            self.worker.wait()


def left():
    # What a killed worker had accepted, and no collector was there to miss, ends with the batch's
    # time limit: that is a minute, too long here.
    rows_at(URL, "UPDATE batches SET timeout_ms = 2500 WHERE timeout_ms > 2500 "
            "AND state <> 'completed'")
    return int(rows_at(URL, "SELECT count(*) FROM tasks WHERE "
                       "state IN ('pending', 'in_progress')")[0][0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 31)
    draw = random.Random(seed)
    kills, end = options.kills, time.monotonic() + options.seconds
    print("loop.py --seed", seed, "--kills", kills, flush=True)
    loop = Loop()
    try:
        loop.start()
        at = time.monotonic() + draw.uniform(0.05, 0.4)
        while left():
            now = time.monotonic()
            if now > end:
                print("not all tasks have ended")
                return 1
            if kills and now >= at:
                kills -= loop.kill(draw.randrange(len(STAGES) + 1))
                at = now + draw.uniform(0.05, 0.6)
            loop.start()
            time.sleep(0.03 if kills else 0.1)
        print("kills left:", kills)
    finally:
        loop.end()
    return 1 if kills else 0


if __name__ == "__main__":
    sys.exit(main())
