"""What goes wrong, and when: all of it is drawn from one seeded source of chance. (The programs'
own pace is not ours, so a seed gives the same faults, not the same run to the millisecond.)"""
import signal
import time

SHORT, LONG = 0.05, 2.5  # seconds that a fault lasts


class Chaos:
    def __init__(self, world, rng, pause, say, only=None):
        self.world, self.rng, self.pause, self.say = world, rng, pause, say
        self.later = []      # (time, number, function): ends of what was begun
        self.count = {}
        self.disturbed = [[] for _ in world.workers]  # times at which a worker or its link was hit
        self.next = time.monotonic() + pause
        self.kinds = [(self.worker_kill, 4), (self.worker_stop, 3), (self.worker_term, 1),
                      (self.publisher_kill, 1), (self.publisher_stop, 1), (self.collector_kill, 3),
                      (self.collector_stop, 2), (self.collector_slow, 2), (self.link_hold, 5)]
        if world.net.can_cut:
            self.kinds += [(self.link_cut, 6), (self.link_lose, 4), (self.link_delay, 2)]
        if only:
            self.kinds = [k for k in self.kinds if k[0].__name__ in only]

    def turn(self):
        """Does what is due."""
        now = time.monotonic()
        due = [item for item in self.later if item[0] <= now]
        self.later = [item for item in self.later if item[0] > now]
        for _, _, act in sorted(due, key=lambda item: item[:2]):
            act()
        if now >= self.next:
            self.next = now + self.rng.expovariate(1 / self.pause)
            act = self.rng.choices(*zip(*self.kinds))[0]
            self.count[act.__name__] = self.count.get(act.__name__, 0) + 1
            act()

    def after(self, seconds, act):
        self.later.append((time.monotonic() + seconds, len(self.later), act))

    def span(self):
        return SHORT * (LONG / SHORT) ** self.rng.random()

    def pick(self):
        i = self.rng.randrange(len(self.world.workers))
        self.disturbed[i].append(time.monotonic())
        return i, self.world.workers[i]

    def revive(self, i):
        self.disturbed[i].append(time.monotonic())
        if not self.world.workers[i].runs():
            self.world.start_worker(i)

    def resume(self, process):
        process.send(signal.SIGCONT)

    # ---- processes

    def worker_kill(self):
        (i, worker), pause = self.pick(), self.span()
        self.say(f'kill w{i}, again after {pause:.2f} s')
        worker.kill()
        self.after(pause, lambda: self.revive(i))

    def worker_stop(self):
        (i, worker), pause = self.pick(), self.span()
        self.say(f'stop w{i} for {pause:.2f} s')
        worker.send(signal.SIGSTOP)
        self.after(pause, lambda: (self.disturbed[i].append(time.monotonic()),
                                   self.resume(worker)))

    def worker_term(self):
        i, worker = self.pick()
        self.say(f'end w{i}')
        worker.send(signal.SIGCONT)
        worker.send(signal.SIGTERM)
        self.wait_for_end(i, worker)

    def wait_for_end(self, i, worker):
        if worker.runs() and self.world.workers[i] is worker:
            self.after(0.05, lambda: self.wait_for_end(i, worker))
        else:
            self.revive(i)

    def publisher_kill(self):
        self.say('kill the publisher')
        self.world.kill_publisher(self.rng)

    def publisher_stop(self):
        publisher, pause = self.world.publisher, self.span()
        self.say(f'stop the publisher for {pause:.2f} s')
        publisher.send(signal.SIGSTOP)
        self.after(pause, lambda: self.resume(publisher))

    def collector_kill(self):
        number = self.rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        self.say(f'end the collector by signal {number}')
        self.world.end_collector(number)
        self.world.start_collector()

    def collector_stop(self):
        collector, pause = self.world.collector, self.span()
        self.say(f'stop the collector for {pause:.2f} s')
        collector.send(signal.SIGSTOP)
        self.after(pause, lambda: self.resume(collector))

    def collector_slow(self):
        pause = self.span()
        self.say(f'read nothing of the collector for {pause:.2f} s')
        self.world.reading = False
        self.after(pause, lambda: setattr(self.world, 'reading', True))

    # ---- links

    def link_hold(self):
        (i, _), pause = self.pick(), self.span()
        way, channel = self.rng.choice(('both', 'both', 'up', 'down')), self.channel()
        self.say(f'hold link {channel} of w{i} ({way}) for {pause:.2f} s')
        self.world.net.hold(i, way, channel)
        self.after(pause, lambda: self.release(i, channel))

    def release(self, i, channel):
        self.disturbed[i].append(time.monotonic())
        self.world.net.hold(i, 'none', channel)

    def link_cut(self):
        (i, _), channel = self.pick(), self.channel()
        self.say(f'cut link {channel} of w{i}')
        self.world.net.cut(i, channel)

    def link_lose(self):
        (i, _), pause, channel = self.pick(), self.span() / 4, self.channel()
        self.say(f'lose {pause:.2f} s of link {channel} of w{i}')
        self.world.net.hold(i, 'both', channel)
        self.after(pause, lambda: (self.world.net.cut(i, channel), self.release(i, channel)))

    def link_delay(self):
        i, _ = self.pick()
        ms = self.rng.choice((0, 1, 5, 20, 100))
        self.say(f'delay the links of w{i} by {ms} ms')
        self.world.net.delay(i, ms)

    def channel(self):
        return self.rng.choice(('b', 'r', 'br'))

    # ---- the end

    def calm(self):
        """Nothing goes wrong any more, and all are there."""
        self.later = []
        self.world.reading = True
        self.resume(self.world.publisher)
        self.resume(self.world.collector)
        for i, worker in enumerate(self.world.workers):
            self.world.net.heal(i)
            self.resume(worker)
            if worker.told and worker.runs():
                worker.child.wait(timeout=15)
            self.revive(i)
