"""Texts without the secrets that libraries like to quote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

MASK: Final = "***"
SHORTEST_SHOWN_AS_MASK: Final = 8
"""Characters of a secret that is masked wherever it stands."""

# Up to the last @ before a slash or blank: a password that should have been encoded may hold one itself.
_USERINFO: Final = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:@/]*:)(?P<password>[^\s/]+)@", re.IGNORECASE)
_FIELD: Final = re.compile(
    r"(?P<before>\b(?:password|passwd|pwd|secret|token)\b['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)",
    re.IGNORECASE,
)

_SECRET_NAME: Final = re.compile("key|secret|token|pass|cred|connection|account|sas|auth", re.IGNORECASE)


def secrets_of(*urls: str) -> frozenset[str]:
    """The passwords in URLs, as they stand there and as they are sent.

    >>> sorted(secrets_of("redis://:pa%40ss@host/0", "amqp://u:one@a//;amqp://u:two@b//"))
    ['one', 'pa%40ss', 'pa@ss', 'two']
    """
    found = {match["password"] for url in urls for part in url.split(";") for match in _USERINFO.finditer(part)}
    fields = {match[0][len(match["before"]) :].strip("'\"") for url in urls for match in _FIELD.finditer(url)}
    return frozenset(text for secret in found | fields for text in (secret, unquote(secret)) if text)


def is_unmistakable(secret: str) -> bool:
    """Whether a secret is in a text only where it is meant: it is neither short nor a word.

    >>> [is_unmistakable(secret) for secret in ("redis", "password", "Recordings", "k7!vQ", "hunter22", "aZdkWqPlmnbV")]
    [False, False, False, False, True, True]
    """
    is_word = secret.isalpha() and secret[1:].islower()
    return len(secret) >= SHORTEST_SHOWN_AS_MASK and not is_word


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without these secrets, nor any password in a URL or behind its name.

    >>> mask("redis://cdr:hush@host/0 said no", [])
    'redis://cdr:***@host/0 said no'
    >>> mask("tried hush", ["hush"])
    'tried ***'
    """
    text = _FIELD.sub(rf"\g<before>{MASK}", _USERINFO.sub(rf"\g<before>{MASK}@", text))
    for secret in sorted(set(secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def secret_values(options: Mapping[str, Any], *, secret: bool = False) -> Iterator[str]:
    """The texts in options, however deep, whose names say that they are secret.

    >>> list(secret_values({"region": "af-south-1", "client": {"secret_key": "hush"}}))
    ['hush']
    """
    for name, value in options.items():
        hidden = secret or bool(_SECRET_NAME.search(str(name)))
        if isinstance(value, Mapping):
            yield from secret_values(value, secret=hidden)
        elif hidden and isinstance(value, str):
            yield value
