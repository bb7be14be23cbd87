"""The addresses of a host, looked up under a deadline: the system's resolver has none that a caller could set."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import Future

_lookups: dict[tuple[str, int], Future[list[str]]] = {}
_lock = threading.Lock()


def addresses_of(host: str, port: int, seconds: float | None) -> list[str]:
    """The addresses of a host, in the resolver's order, each once.

    Args:
        host: a name or an address.
        port: only for the resolver's own rules.
        seconds: how long to wait; None: as long as the resolver takes. A lookup that takes longer goes on by itself,
            and whoever asks for the same meanwhile waits for that one, so that no threads pile up.

    Raises:
        TimeoutError: they were not found by then.
        OSError: what the resolver said.
    """
    key = (host, port)
    with _lock:
        lookup = _lookups.get(key)
        if lookup is None:
            lookup = _lookups[key] = Future()
            threading.Thread(target=_look_up, args=(key, lookup), name=f"address of {host}", daemon=True).start()
    try:
        return lookup.result(seconds)
    except TimeoutError:
        raise TimeoutError(f"the name {host} was not resolved in time") from None


def _begin_anew() -> None:
    """A child has none of the threads that would answer."""
    _lookups.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_anew)


def _look_up(key: tuple[str, int], lookup: Future[list[str]]) -> None:
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(*key, type=socket.SOCK_STREAM)]
        answer: list[str] | Exception = list(dict.fromkeys(found))
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
        answer = error
    with _lock:
        del _lookups[key]  # the next one asks anew: names move
    if isinstance(answer, list):
        lookup.set_result(answer)
    else:
        lookup.set_exception(answer)
