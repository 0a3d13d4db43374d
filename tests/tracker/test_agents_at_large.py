"""The rules against thousands of agents that others collected: what people use is people, crawlers are machines.

The lists come with the packages device-detector (Matomo's fixtures), crawler-user-agents and fake-useragent. They name
as devices some programs that nobody reads mail with (updaters, podcast fetchers), and as crawlers some that bear a
browser's agent, so the bounds are not zero.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files

import pytest

from tests.tracker.facts import hit
from tracker.hits.agents import client_of, family
from tracker.hits.classify import anew, classify, kept, signals
from tracker.model import HitClass, Verdict, new_id

MESSAGE = new_id()
NO_PEOPLE = ("bots", "feed_reader", "podcasting", "mediaplayer", "mobile_apps", "clienthints", "clienthintsapp")
SAMPLE = 1500


def matomo(machines: bool) -> list[str]:
    """The agents of Matomo's fixtures: of its bots, or of its devices."""
    folder = files("device_detector") / "tests" / "fixtures" / "upstream"
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".yml"))
    wanted = [name for name in names if (name == "bots.yml" if machines else not name.startswith(NO_PEOPLE))]
    return sorted({agent for name in wanted for agent in _in_yaml((folder / name).read_text("utf-8"))})


def _in_yaml(text: str) -> Iterator[str]:
    for value in re.findall(r"^\s*-?\s*user_agent: (.+)$", text, re.M):
        if value[0] == "'":
            yield value.strip()[1:-1].replace("''", "'")
        elif value[0] == '"':
            if "\\x" not in value:
                yield json.loads(value)
        else:
            yield value.strip()


def browsers() -> list[str]:
    lines = (files("fake_useragent") / "data" / "browsers.jsonl").read_text("utf-8").splitlines()
    return sorted({json.loads(line)["useragent"] for line in lines})


def crawlers() -> list[str]:
    rows = json.loads((files("crawleruseragents") / "crawler-user-agents.json").read_text("utf-8"))
    return sorted({agent for row in rows for agent in row["instances"]})


def verdicts(agents: Iterable[str], event: str) -> dict[str, Verdict]:
    return {agent: classify(hit(MESSAGE, position=int(event == "click"), agent=agent)) for agent in agents}


def wrong(agents: list[str], event: str, cls: HitClass, name: str) -> float:
    """The share of agents that are not of this class, printed with the first of them."""
    found = verdicts(agents, event)
    others = {agent: verdict for agent, verdict in found.items() if verdict.cls is not cls}
    print(f"{name}, {event}s: {len(found)} agents, {len(others)} ({len(others) / len(found):.2%}) not {cls}")
    for agent, verdict in list(others.items())[:40]:
        print(f"  {verdict.rule}: {agent[:150]}")
    return len(others) / len(found)


def some(agents: list[str]) -> list[str]:
    return agents if len(agents) <= SAMPLE else random.Random(1).sample(agents, SAMPLE)


@pytest.mark.parametrize("event", ["open", "click"])
def test_devices_are_people(event: str) -> None:
    agents = matomo(machines=False)
    assert len(agents) > 20_000
    assert wrong(some(agents), event, HitClass.HUMAN, "devices (Matomo)") < 0.005


@pytest.mark.parametrize("event", ["open", "click"])
def test_browsers_of_today_are_people(event: str) -> None:
    agents = browsers()
    assert len(agents) > 500
    assert wrong(agents, event, HitClass.HUMAN, "browsers (fake-useragent)") == 0


@pytest.mark.parametrize("event", ["open", "click"])
def test_crawlers_are_machines(event: str) -> None:
    agents = sorted({*matomo(machines=True), *crawlers()})
    assert len(agents) > 2000
    assert wrong(agents, event, HitClass.MACHINE, "crawlers (Matomo, crawler-user-agents)") < 0.04


@pytest.mark.long
@pytest.mark.parametrize("event", ["open", "click"])
def test_all_devices_are_people(event: str) -> None:
    assert wrong(matomo(machines=False), event, HitClass.HUMAN, "all devices (Matomo)") < 0.005


def test_what_is_kept_of_an_agent_tells_the_same_client() -> None:
    for agent in random.Random(2).sample(matomo(machines=False), 500) + browsers()[:100]:
        assert client_of(family(agent)) == client_of(agent), agent
        assert not re.search(r"\d{3}", family(agent).partition(" on ")[0]), agent


def test_what_is_kept_leads_to_the_same_verdict() -> None:
    for agent in [*random.Random(3).sample(matomo(machines=False), 500), *crawlers()]:
        for event in ("open", "click"):
            seen = hit(MESSAGE, position=int(event == "click"), agent=agent)
            verdict = classify(seen)
            assert anew(kept(event, family(agent), signals(seen, verdict), verdict)) == verdict, agent


def test_devices_are_mostly_told_apart() -> None:
    folder = files("device_detector") / "tests" / "fixtures" / "upstream"
    for name, device in (("smartphone", "phone"), ("tablet", "tablet"), ("desktop", "desktop")):
        agents = sorted(_in_yaml((folder / f"{name}.yml").read_text("utf-8")))
        told = sum(client_of(agent).device == device for agent in agents)
        print(f"{name}: {told / len(agents):.1%} of {len(agents)}")
        assert told / len(agents) > 0.7
