"""What to do when RabbitMQ does not let us in, by words of what it said."""

from __future__ import annotations

from typing import Final

RABBITMQ_REFUSES: Final = {
    "login was refused": "Correct the user and password in CELERY_BROKER_URL.",
    "access to vhost": "Let the user in: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'.",
    "vhost": "Create the vhost (rabbitmqctl add_vhost), or correct it in CELERY_BROKER_URL, where // is /.",
}
"""The first that fits."""


def advice(said: str) -> str:
    """What to do about what RabbitMQ said.

    >>> advice("(403) ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN")
    'Correct the user and password in CELERY_BROKER_URL.'
    """
    low = said.lower()
    return next((what for words, what in RABBITMQ_REFUSES.items() if words in low), "Run `pipeline doctor`.")
