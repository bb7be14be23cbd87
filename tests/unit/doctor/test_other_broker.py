"""What is said of RabbitMQ and of Sentinel, by what Celery's transports say of them."""

from __future__ import annotations

import pytest

from pipeline.doctor.rules.other_broker import judge_other_broker_error
from pipeline.doctor.rules.verdict import Level

SENTINEL = (
    "No master found for 'mymaster' : <redis.client.Redis(<redis.connection.ConnectionPool("
    "<redis.connection.Connection("
    "db=0,username=None,password=hush,retry=<redis.retry.Retry object at 0x7f>,host=one,port=26379,maint=Config(a=a, "
    "b=None),orig_host_address=one)>)>)> - network:ConnectionError, <redis.client.Redis(<redis.connection."
    "ConnectionPool(<redis.connection.Connection(db=0,password=hush,host=two,port=26380,last=5)>)>)> - {reason}"
)


@pytest.mark.parametrize(
    ("scheme", "said", "advice"),
    [
        (
            "amqp",
            "(0, 0): (403) ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.",
            "Correct the user and",
        ),
        ("amqp", "Connection.open: (530) NOT_ALLOWED - vhost nope not found", "Create the vhost"),
        (
            "amqp",
            "Connection.open: (530) NOT_ALLOWED - access to vhost 'x' refused for user 'guest'",
            "Let the user in",
        ),
        ("amqp", "[Errno 111] Connection refused", "Start it, or correct the host and port"),
        ("amqp", "[Errno -2] Name or service not known", "Correct the host"),
        ("amqp", "timed out", "Check the host"),
        ("amqp", "Server unexpectedly closed connection", "Correct the port"),
        ("amqps", "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "Use amqps://"),
        ("amqps", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "Have its certificate signed"),
        ("sentinel", SENTINEL.format(reason="network:ConnectionError"), "Start the Sentinels"),
        ("sentinel", SENTINEL.format(reason="auth:AuthenticationError"), "Correct the password"),
        ("sentinel", "Error 111 connecting to one:6379. Connection refused.", "Start it"),
        ("amqp", "", "Start it, or correct CELERY_BROKER_URL."),
    ],
)
def test_each_error_has_its_advice(scheme, said, advice):
    """What the broker or the library said is shown, with what to do."""
    verdict = judge_other_broker_error(scheme, OSError(said))
    assert (verdict.check, verdict.level) == ("broker", Level.PROBLEM)
    assert verdict.remedy.startswith(advice)


def test_sentinels_are_named_and_nothing_else_of_their_clients():
    """The library shows everything else."""
    verdict = judge_other_broker_error("sentinel", OSError(SENTINEL.format(reason="network:ConnectionError")))
    assert verdict.says == (
        "it cannot be used: No master found for 'mymaster' : one:26379 - network:ConnectionError, "
        "two:26380 - network:ConnectionError"
    )
