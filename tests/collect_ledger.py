# For tests/collect_store.bats: a worker that has many results and asks the store, at each
# confirmation, whether it has all that is confirmed; by a connection of its own.
import os
import sqlite3
import subprocess

from collect_peer import *

URL = os.environ["TASKER_STORE_URL"]


def ask(sql):
    """Gives the one number that sql asks for; -1 while there is no store."""
    if URL.startswith("sqlite:"):
        try:
            db = sqlite3.connect("file:%s?mode=ro" % URL[7:], uri=True, timeout=20)
            try:
                return db.execute(sql).fetchone()[0]
            finally:
                db.close()
        except sqlite3.OperationalError:
            return -1
    done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-d", URL, "-c", sql],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) if done.returncode == 0 else -1


class Checked(Worker):
    window = 500

    def serve(self, timeout):
        before = self.confirmed
        super().serve(timeout)
        if self.confirmed == before:
            return
        there = ask("SELECT count(*) FROM received_results WHERE source = '%s' AND "
                    "stream_offset <= %d" % (self.source, self.confirmed))
        if there != self.confirmed:
            sys.exit("confirmed %d, but the store has %d" % (self.confirmed, there))

    def many(self, batch, count, pad=0, seconds=150):
        """Sends the results of count steps and the completion, some ahead of what is confirmed."""
        end, status = time.monotonic() + seconds, 0
        for step in range(1, count + 1):
            self.publish("partial_result", {"batch_id": batch, "step_id": step, "task_id": 1,
                                            "status": "completed", "output": {"pad": "x" * pad}})
            while self.offset - self.confirmed > self.window and time.monotonic() < end:
                self.serve(0.05)
                if time.monotonic() - status > 0.2:
                    status = time.monotonic()
                    self.status()
        self.completion(batch, list(range(1, count + 1)))
        print("sent", flush=True)
        self.rest(end)

    def rest(self, end):
        while self.confirmed < self.offset:
            if time.monotonic() > end:
                sys.exit("only %d of %d are confirmed" % (self.confirmed, self.offset))
            self.serve(0.2)
            self.status()
