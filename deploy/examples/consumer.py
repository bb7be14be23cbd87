"""Reads calls off a list on Redis: what read the dialler's own list reads a subscriber's, with other arguments alone.

python consumer.py redis://host:6379/0 enigma:notifications:campaigns >> calls.jsonl
"""

import sys
import time

import redis

url, name = sys.argv[1:]
# No time limit on the answer: what was popped, and answered after it, would be lost.
client = redis.Redis.from_url(url, socket_timeout=None)
while True:
    try:
        _, element = client.brpop([name])
    except (redis.ConnectionError, redis.TimeoutError):
        time.sleep(0.5)
    else:
        sys.stdout.buffer.write(element + b"\n")
        sys.stdout.buffer.flush()
