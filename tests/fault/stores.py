"""The two stores as the crash test sees them: questions to them, a dump of all that they hold, and a
server that can be stopped at once and started again."""
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time

from programs import die_with_parent

HERE = os.path.dirname(os.path.abspath(__file__))
CLUSTER = os.path.join(os.path.dirname(HERE), 'cluster')
# All tables but the marks of news, each in an order of its own.
TABLES = ('tasks ORDER BY task_id', 'steps ORDER BY id', 'batches ORDER BY id',
          'batch_steps ORDER BY batch, sequence_order', 'received_results ORDER BY id',
          'settled_batches ORDER BY batch', 'settled_steps ORDER BY batch, step_id',
          'discrepancies ORDER BY batch, place', 'task_transitions ORDER BY task, sort_key',
          'step_transitions ORDER BY step, sort_key', 'batch_transitions ORDER BY batch, sort_key')


def rows_at(url, sql):
    """The rows that sql gives in the store at url; what it changes is kept."""
    if not url.startswith('sqlite:'):
        return [tuple(line.split('|')) for line in ask(url, sql).splitlines()]
    db = sqlite3.connect(url[len('sqlite:'):], timeout=20, isolation_level=None)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def ask(base, sql, environment=None):
    """What psql prints for sql."""
    return subprocess.run(
        ['psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', base, '-c', sql],
        check=True, text=True, stdin=subprocess.DEVNULL, capture_output=True, env=environment).stdout


class Store:
    def dump(self):
        """Gives a list of texts, a table each."""
        return [f'{table}\n{self.text(f"SELECT * FROM {table}")}' for table in TABLES]

    def text(self, sql):
        return '\n'.join(map(str, self.rows(sql)))


class Sqlite(Store):
    has_server = False

    def __init__(self, folder, _environment):
        self.url = f'sqlite:{os.path.join(folder, "store", "tasker.db")}'

    def rows(self, sql):
        return rows_at(self.url, sql)

    def sound(self):
        """What the database says of itself; empty if all is well."""
        return [row[0] for row in self.rows('PRAGMA integrity_check') if row[0] != 'ok'] + \
            [str(row) for row in self.rows('PRAGMA foreign_key_check')]

    def close(self):
        pass


class Postgresql(Store):
    """A cluster of its own. It is the user postgres's where root runs this."""
    has_server = True

    def __init__(self, _folder, environment):
        self.folder = tempfile.mkdtemp(prefix='tasker-pg.', dir='/tmp')
        os.chmod(self.folder, 0o755)
        self.environment, self.cluster = environment, None
        self.start()
        self.ask('CREATE DATABASE crash', 'template1')
        self.url = self.address('crash')

    def start(self):
        with open(os.path.join(self.folder, 'cluster.log'), 'ab') as log:
            # pylint: disable=consider-using-with
            self.cluster = subprocess.Popen(
                [CLUSTER, 'run', self.folder], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, preexec_fn=die_with_parent)
        if not self.cluster.stdout.readline().startswith(b'ready'):
            raise RuntimeError('the server does not start')

    def kill(self):
        """Ends the server as a crash would: what is not durable is lost."""
        subprocess.run([CLUSTER, 'kill', self.folder], check=True, env=self.environment)
        self.cluster.stdout.close()
        self.cluster.wait()

    def ask(self, sql, base='crash'):
        return ask(self.address(base), sql, self.environment)

    def address(self, base):
        return f'postgresql:///{base}?host={self.folder}&user=tasker'

    def rows(self, sql):
        return [tuple(line.split('|')) for line in self.ask(sql).splitlines()]

    def text(self, sql):
        return self.ask(sql)

    def sound(self):
        return []

    def close(self):
        if self.cluster and self.cluster.poll() is None:
            self.cluster.terminate()
            self.cluster.wait()
        for _ in range(50):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not os.path.exists(self.folder):
                return
            time.sleep(0.1)


STORES = {'sqlite': Sqlite, 'postgresql': Postgresql}
