#!/usr/bin/python3
"""Confirms every result as soon as it is sent, and keeps none: what a collector would be that confirms
before the commit. early.py RESULT_ENDPOINT"""
import json
import sys

import zmq

socket = zmq.Context().socket(zmq.XSUB)
socket.connect(sys.argv[1])
for topic in ('partial_result', 'batch_completion', 'batch_error', 'worker_status',
              'collector.early '):
    socket.send(b'\1' + topic.encode())
while True:
    message = json.loads(socket.recv().split(b' ', 1)[1])
    socket.send(b'collected ' + json.dumps({'source': message['source'], 'offset': message['offset'],
                                            'collector_id': 'early'}).encode())
