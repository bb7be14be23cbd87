"""Flower's configuration. Flower runs this file after reading its environment variables (``FLOWER_*``) and its command
line, and takes every name below that is an option of its own; each gives way to what was set there.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

from tornado.options import options

from pipeline.setting_words import is_on
from pipeline.settings import SettingsError, current_settings, start_logging

LOOPBACK_NAMES = {"localhost"}
FLOWERS_MOST_TASKS = 100_000
"""Its own default: 700 MB."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


try:
    current_settings()
except SettingsError as error:
    sys.exit(str(error))

_logins = [login for login in options.basic_auth or [] if login]
if not all(user and password for user, _, password in (login.partition(":") for login in _logins)):
    sys.exit("FLOWER_BASIC_AUTH must be user:password, several by comma")
basic_auth = _logins
address = options.address or "127.0.0.1"
if not (_is_loopback(address) or options.unix_socket or _logins or options.auth):
    sys.exit(
        f"Flower would listen on {address} for anybody: set FLOWER_BASIC_AUTH=user:password (or FLOWER_AUTH), "
        "or FLOWER_ADDRESS=127.0.0.1"
    )

if is_on(os.environ.get("FLOWER_UNAUTHENTICATED_API", "")):
    sys.exit(
        "FLOWER_UNAUTHENTICATED_API would let anybody, and any page of any site, ask what workers do: leave it out, "
        "and log in to use Flower's API"
    )

# What Flower saw survives its restart.
persistent = True
db = options.db if options.db != "flower" else "var/flower.db"
Path(db).parent.mkdir(parents=True, exist_ok=True)
from pipeline.flower import memory as _memory  # noqa: E402 - only once the above lets Flower start

_memory.install()
state_save_interval = options.state_save_interval or _memory.SAVE_MILLISECONDS
max_tasks = options.max_tasks if options.max_tasks != FLOWERS_MOST_TASKS else _memory.MOST_TASKS

tasks_columns = "name,uuid,kwargs,state,received,runtime,result,worker"

# Lines as those of the other processes: what is told in them is masked, and shown as text.
start_logging(f"FLOWER_{name.upper().replace('-', '_')}" for name in options)

# More tabs: calls, what failed and what can be done about it, how the pipeline is doing, who gets what.
from pipeline.flower.extension import install as _install_tabs  # noqa: E402 - only once the above lets Flower start

_install_tabs()
