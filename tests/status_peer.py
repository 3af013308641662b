#!/usr/bin/python3
"""A peer for tests/status.bats: status_peer.py KIND ENDPOINT. It prints "ready" when it is there and
stays until it is ended. KIND is one of the functions below; those of ZeroMQ bind, but for worker
and plain, which connect as a worker and a plain subscriber would."""
import json
import socket
import sys
import threading
import zmq

kind, endpoint = sys.argv[1:3]
ctx = zmq.Context()
EVIL = "w1\x1b[31m"


def zsocket(type_):
    sock = ctx.socket(type_)
    sock.setsockopt(zmq.LINGER, 0)
    return sock


def ready():
    print("ready", flush=True)


def stay(sock):
    ready()
    while True:
        sock.poll(3600000)
        sock.recv()


def bound(type_):
    sock = zsocket(type_)
    sock.bind(endpoint)
    return sock


def answer(make):
    """An XPUB that prints what it hears and answers each subscription to status.ID with make(topic)."""
    sock = bound(zmq.XPUB)
    ready()
    while True:
        frame = sock.recv()
        topic = frame[1:].decode()
        print("heard", frame[0], topic, flush=True)
        if frame[0] == 1 and topic.startswith("status.") and topic.endswith(" "):
            for message in make(topic):
                sock.send(message)


def publisher():
    body = {"message_type": "publisher_status", "endpoint": endpoint, "pid": 77, "plain": 1,
            "version": "0", "workers": [
                {"worker_id": EVIL, "queued": 2, "free_slots": 3, "unanswered": 4}]}
    answer(lambda topic: [topic.encode() + json.dumps(body).encode()])


def worker_sender():
    body = {"message_type": "worker_status", "worker_id": "w7", "source": "s", "offset": 12,
            "oldest": 3, "state": "ready", "host": "h", "pid": 78, "running": 1, "queued": 2,
            "free_slots": 9, "max_workers": 10, "accepted": 5, "completed": 6, "failed": 7,
            "lost": 8, "collectors": 2, "batch_endpoint": "tcp://127.0.0.1:9"}
    answer(lambda topic: [topic.encode() + json.dumps(body).encode()])


def odd():
    answer(lambda topic: [topic.encode() + b"{not json", topic.encode() + b'{"message_type":"x"}',
                          topic.encode() + b'{"message_type":"publisher_status","workers":[1,null],'
                          b'"pid":"x","plain":{}}'])


def rubbish():
    answer(lambda topic: [topic.encode() + b"\xff\x00{not json"])


def mute():
    answer(lambda topic: [])


def pub():
    bound_pub = bound(zmq.PUB)
    ready()
    threading.Event().wait()
    bound_pub.close()


def sub():
    sock = zsocket(zmq.SUB)
    for topic in (b"steps", b"worker.w9 "):
        sock.setsockopt(zmq.SUBSCRIBE, topic)
    sock.bind(endpoint)
    stay(sock)


def rep():
    stay(bound(zmq.REP))


def connected(topics):
    sock = zsocket(zmq.SUB)
    sock.setsockopt(zmq.RECONNECT_IVL, 20)
    sock.setsockopt(zmq.RECONNECT_IVL_MAX, 20)
    for topic in topics:
        sock.setsockopt(zmq.SUBSCRIBE, topic)
    sock.connect(endpoint)
    return sock


def worker():
    stay(connected([b"steps", b"worker.w2 "]))


def plain():
    stay(connected([b"steps"]))


def raw(talk):
    """A plain TCP server; talk is called with each connection."""
    host, port = endpoint[6:].rsplit(":", 1)
    server = socket.socket(socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, int(port)))
    server.listen(16)
    ready()
    kept = []
    while True:
        conn = server.accept()[0]
        kept.append(conn)
        threading.Thread(target=talk, args=(conn,), daemon=True).start()


def silent():
    raw(lambda conn: None)


def closes():
    raw(lambda conn: conn.shutdown(socket.SHUT_RDWR))


def http():
    def talk(conn):
        conn.recv(4096)
        conn.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        conn.shutdown(socket.SHUT_RDWR)
    raw(talk)


def banner():
    raw(lambda conn: conn.sendall(b"SSH-2.0-\x1b[2Jx\r\n"))


globals()[kind.replace("-", "_")]()
