"""Reads calls off a list on Redis: what read the dialler's own list reads a subscriber's, with other arguments alone.

python consumer.py redis://host:6379/0 enigma:notifications:campaigns >> calls.jsonl
"""

import signal
import sys
import time

import redis

url, name = sys.argv[1:]
stopping: list[int] = []
# It ends between two calls, never between taking one and writing it.
signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
# No time limit on the answer: what was popped, and answered after it, would be lost.
client = redis.Redis.from_url(url, socket_timeout=None)
while not stopping:
    try:
        popped = client.brpop([name], timeout=1)
    except (redis.ConnectionError, redis.TimeoutError):
        time.sleep(0.5)
        continue
    if popped:
        sys.stdout.buffer.write(popped[1] + b"\n")
        sys.stdout.buffer.flush()
