#!/usr/bin/python3
"""A TCP relay whose links can be cut, held and delayed: the bad network of the fault harness.

relay.py HOST. Commands are lines on stdin; the relay ends with it.

    listen NAME PORT TARGET   accepts at HOST:PORT, goes on to HOST:TARGET; says "NAME"
    cut NAME                  resets all connections; what they hold is lost
    hold NAME WAY             forwards nothing up, down, both ways; or none: all goes on
    delay NAME MS             forwards each piece so much later
    eat NAME TOPIC            takes messages of this topic out of what goes up (client to server)

Held is held: not even new connections are made, and what waits is lost by a cut."""
import errno
import selectors
import socket
import struct
import sys
import time

HOST = sys.argv[1]
PIECE, MOST = 65536, 1 << 20
GREETING = 64  # bytes of ZMTP before its first frame


class Eater:
    """Takes the messages of one topic out of a ZMTP stream."""

    def __init__(self, topic):
        self.topic, self.left, self.skip, self.data = topic, GREETING, False, b''

    def feed(self, piece):
        self.data += piece
        out = b''
        while self.data:
            if not self.left and not self.begin_frame():
                break
            part, self.data = self.data[:self.left], self.data[self.left:]
            self.left -= len(part)
            out += b'' if self.skip else part
            if not self.left:
                self.skip = False
        return out

    def begin_frame(self):
        long = self.data[0] & 2
        head = 9 if long else 2
        if len(self.data) < head:
            return False
        size = struct.unpack('>Q', self.data[1:9])[0] if long else self.data[1]
        if len(self.data) < head + min(size, len(self.topic)):
            return False
        self.left = head + size
        self.skip = not self.data[0] & 4 and self.data[head:].startswith(self.topic)
        return True


class Pipe:
    """One direction of a connection: pieces with the time from which they may go on."""

    def __init__(self, link, way, source, target):
        self.link, self.way, self.source, self.target = link, way, source, target
        self.pieces, self.size, self.end = [], 0, False
        self.eater = Eater(link.eaten) if link.eaten and way == 'up' else None

    def held(self):
        return self.link.hold in (self.way, 'both')

    def wants_read(self):
        return not self.end and not self.held() and self.size < MOST

    def wants_write(self, now):
        return bool(self.pieces) and not self.held() and self.pieces[0][0] <= now

    def read(self):
        piece = self.source.recv(PIECE)
        if not piece:
            self.end = True
        elif self.eater:
            piece = self.eater.feed(piece)
        if piece:
            self.pieces.append((time.monotonic() + self.link.delay, piece))
            self.size += len(piece)

    def write(self):
        due, piece = self.pieces[0]
        sent = self.target.send(piece)
        self.size -= sent
        if sent < len(piece):
            self.pieces[0] = (due, piece[sent:])
        else:
            self.pieces.pop(0)

    def done(self):
        return self.end and not self.pieces


class Link:
    def __init__(self, name, port, target):
        self.name, self.target = name, target
        self.hold, self.delay, self.eaten = 'none', 0, b''
        self.pairs = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((HOST, port))
        self.listener.listen(64)
        self.listener.setblocking(False)

    def accept(self):
        client, _ = self.listener.accept()
        server = socket.socket()
        try:
            server.connect((HOST, self.target))
        except OSError:  # nobody is there now: to the client it looks the same
            reset(client)
            server.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pairs.append((Pipe(self, 'up', client, server), Pipe(self, 'down', server, client)))

    def cut(self):
        for up, _ in self.pairs:
            reset(up.source)
            reset(up.target)
        self.pairs = []

    def command(self, word, argument):
        if word == 'cut':
            self.cut()
        elif word == 'hold':
            self.hold = argument
        elif word == 'delay':
            self.delay = int(argument) / 1000
        elif word == 'eat':
            self.eaten = argument.encode() + b' '


def reset(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except OSError:
        pass
    sock.close()


def move(pair, ready, now):
    """Moves what can be moved. Returns False once the connection is over."""
    try:
        for pipe in pair:
            if pipe.source in ready and ready[pipe.source] & selectors.EVENT_READ \
                    and pipe.wants_read():
                pipe.read()
            if pipe.wants_write(now):
                pipe.write()
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EINTR):
            return True
        return False
    return not (pair[0].done() or pair[1].done())


def interests(links, now):
    """Returns what to wait for, by socket, and for how long at most."""
    wanted, until = {sys.stdin: selectors.EVENT_READ}, 5.0
    for link in links.values():
        if link.hold == 'none':
            wanted[link.listener] = selectors.EVENT_READ
        for pair in link.pairs:
            for pipe in pair:
                if pipe.wants_read():
                    wanted[pipe.source] = wanted.get(pipe.source, 0) | selectors.EVENT_READ
                if pipe.wants_write(now):
                    wanted[pipe.target] = wanted.get(pipe.target, 0) | selectors.EVENT_WRITE
                elif pipe.pieces and not pipe.held():
                    until = min(until, max(0, pipe.pieces[0][0] - now))
    return wanted, until


def wait(wanted, until):
    with selectors.SelectSelector() as selector:
        for source, mask in wanted.items():
            selector.register(source, mask)
        return {key.fileobj: mask for key, mask in selector.select(until)}


def obey(links, line):
    word, name, *rest = line.split()
    if word == 'listen':
        links[name] = Link(name, int(rest[0]), int(rest[1]))
    else:
        links[name].command(word, rest[0] if rest else '')
    print(name, flush=True)


def main():
    links = {}
    while True:
        wanted, until = interests(links, time.monotonic())
        ready = wait(wanted, until)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            obey(links, line)
            continue  # it may have closed what was ready
        now = time.monotonic()
        for link in links.values():
            if link.listener in ready:
                link.accept()
            for pair in link.pairs[:]:
                if not move(pair, ready, now):
                    link.pairs.remove(pair)
                    for pipe in pair:
                        pipe.source.close()


if __name__ == '__main__':
    main()
