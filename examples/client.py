"""The client of all examples: sends its words as one line and prints the answer, as in socketserver's documentation.

    $ python examples/client.py tcp://127.0.0.1:9999 hello world
    Sent:     hello world
    Received: HELLO WORLD

Endpoints are written as for loop.listen: tcp://host:port, udp://host:port, unix://path, unix+dgram://path. Without
words it is a conversation: it sends what you type (a line with Enter, a part of one with Ctrl-D), and prints what
comes, until one side has had enough (you: Ctrl-D at the start of a line).
"""

import os
import socket
import sys
import tempfile
import threading

from reactor import Endpoint


def converse(sock: socket.socket) -> None:
    def show() -> None:
        while data := sock.recv(65536):
            print(data.decode(), end="", flush=True)

    shower = threading.Thread(target=show)
    shower.start()
    while data := os.read(sys.stdin.fileno(), 65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    shower.join()


place, words = Endpoint.parse(sys.argv[1]), " ".join(sys.argv[2:])
family = socket.AF_INET if place.family == "inet" else socket.AF_UNIX
with tempfile.TemporaryDirectory() as folder, socket.socket(family, place.type) as sock:
    if place.scheme == "unix+dgram":
        sock.bind(f"{folder}/client.sock")  # without a name of its own it could not be answered
    sock.connect((place.host, place.port) if place.family == "inet" else place.path)
    if not words:
        converse(sock)
    else:
        sock.sendall(f"{words}\n".encode())
        print("Sent:    ", words)
        print("Received:", sock.recv(1024).decode().strip())
