"""A broker that Celery alone connects to: RabbitMQ, or Redis behind Sentinel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.doctor.rules.verdict import first_line, problem
from pipeline.worker.rules.refusals import RABBITMQ_REFUSES

if TYPE_CHECKING:
    from pipeline.doctor.rules.verdict import Verdict

# Of a Sentinel's client the library shows everything but what one wants to know.
_CLIENT: Final = re.compile(r"<redis\.client\.Redis\(.*?\bhost=(?P<host>[^,]+),port=(?P<port>\d+).*?\)>\)>\)>")

_RABBITMQ: Final = {
    **RABBITMQ_REFUSES,
    "unexpectedly closed": "Correct the port in CELERY_BROKER_URL: no RabbitMQ is there, or one that speaks TLS.",
    "certificate": "Have its certificate signed by an authority that this system trusts.",
    "ssl": "Use amqps:// in CELERY_BROKER_URL where it speaks TLS, usually on port 5671, amqp:// elsewhere.",
}
_SENTINEL: Final = {
    "auth": "Correct the password in CELERY_BROKER_URL.",
    "no master found": "Start the Sentinels, or correct their addresses in CELERY_BROKER_URL and the name in "
    "CELERY_BROKER_SENTINEL_MASTER.",
}
_ANY: Final = {
    "refused": "Start it, or correct the host and port in CELERY_BROKER_URL.",
    "not known": "Correct the host in CELERY_BROKER_URL.",
    "resolution": "Correct the host in CELERY_BROKER_URL.",
    "timed out": "Check the host in CELERY_BROKER_URL, the network and firewalls.",
    "timeout": "Check the host in CELERY_BROKER_URL, the network and firewalls.",
}


def judge_other_broker_error(scheme: str, error: BaseException) -> Verdict:
    """Why such a broker cannot be used, from what Celery's transport said.

    Args:
        scheme: of its URL.
        error: each transport has errors of its own.
    """
    said = _CLIENT.sub(r"\g<host>:\g<port>", first_line(error))
    advice = (_SENTINEL if scheme == "sentinel" else _RABBITMQ) | _ANY
    low = said.lower()
    remedy = next((advice[words] for words in advice if words in low), "Start it, or correct CELERY_BROKER_URL.")
    # A refused login says by itself what to do.
    return problem("broker", f"it cannot be used: {said.removesuffix(remedy.rstrip('.')).rstrip(' .')}", remedy)
