"""What ``check --connect`` says."""

from __future__ import annotations

from relay.probing import probe
from tests.config.conftest import Load
from tests.e2e.harness import free_port


async def test_every_smarthost_that_does_not_answer_is_named(load: Load) -> None:
    dead = f"{{host: 127.0.0.1, port: {free_port()}, tls: none}}"
    config = load(
        f"senders: [{{match: a}}, {{match: b, smarthost: {dead}}}, {{match: c, smarthost: {{host: sandbox}}}}]"
    )
    config.data_dir.mkdir(parents=True, exist_ok=True)
    keys = [answer.split(": ")[0] for answer in await probe(config)]
    assert keys[0] == "senders[1].smarthost"
    assert not [key for key in keys if key.startswith(("relay", "senders[0]", "senders[2]"))]
