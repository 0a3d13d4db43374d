"""Person or machine, and why, from what one request shows by itself. Pure; nothing is dropped, only named.

What hits show of each other is ``judging``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from tracker.hits.rules import AGENT_RULES, REQUEST_RULES, RULES, RULES_VERSION, SIGNAL_HEADERS, Rule
from tracker.model import Hit, Verdict

LONGEST_AGENT = 1024
"""So many characters of an agent are looked at, and kept."""

_BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of a hit, from which it can be judged anew. ``agent`` is what privacy let through, ``whole`` says
    that this is all of it; ``rule`` names the rule that applied then, ``verdict`` is what it came to at last."""

    event: str
    method: str
    headers: Mapping[str, str]
    agent: str | None
    whole: bool
    rule: str | None
    verdict: Verdict


def classify(hit: Hit) -> Verdict:
    """What one request shows by itself. ``hit.headers`` has lower-case names; the agent must be the whole one."""
    return _verdict(_rule(hit.event, hit.method, hit.headers, hit.agent))


def alone(rule: str | None, verdict: Verdict) -> Verdict:
    """What a stored hit showed by itself: by the name of the rule that was kept with it, else, where that is not known
    here, as far as the verdict that was kept tells."""
    known = _BY_NAME.get(rule or "")
    if known is not None:
        return Verdict(known.cls, known.kind, known.reason, verdict.rules, known.name)
    kind = verdict.reason.partition("(")[2].rstrip(")") if verdict.kind == "repeat" else ""
    return replace(verdict, kind=kind) if kind else verdict


def anew(hit: Kept) -> Verdict:
    """What a stored hit shows by itself under the rules of today, as far as what was kept of it tells: method and
    headers; the agent where it was kept whole; else the rule that applied to it then, and where that was the last one,
    those that know an agent by its name."""
    for rule in REQUEST_RULES:
        if rule.applies(hit.method, hit.headers):
            return _verdict(rule)
    if hit.whole:
        return _verdict(_by_agent(hit.event, _trimmed(hit.agent)))
    named = _by_family(hit.agent) if hit.agent and hit.rule == AGENT_RULES[-1].name else None
    return _verdict(named) if named else replace(alone(hit.rule, hit.verdict), rules=RULES_VERSION)


def signals(hit: Hit, verdict: Verdict) -> dict[str, str]:
    """What is kept of a hit beside its agent, so that it can be judged anew (see ``Kept``)."""
    return {"method": hit.method, **hit.headers, "rule": verdict.rule} | ({"agent": "whole"} if hit.whole else {})


def kept(event: str, agent: str | None, signals: Mapping[str, str] | None, verdict: Verdict) -> Kept:
    """What was kept of a hit, from what ``signals`` made; None: that was erased with the person's data."""
    signals = signals or {}
    headers = {name: signals[name] for name in SIGNAL_HEADERS if name in signals}
    whole = signals.get("agent") == "whole" and agent is not None
    return Kept(event, signals.get("method", ""), headers, agent, whole, signals.get("rule"), verdict)


def _rule(event: str, method: str, headers: Mapping[str, str], agent: str | None) -> Rule:
    for rule in REQUEST_RULES:
        if rule.applies(method, headers):
            return rule
    return _by_agent(event, _trimmed(agent))


def _trimmed(agent: str | None) -> str:
    return (agent or "")[:LONGEST_AGENT].strip()


@lru_cache(maxsize=8192)
def _by_agent(event: str, agent: str) -> Rule:
    """The first rule for an agent; slow where it is new, hence remembered for the agents last seen."""
    return next(rule for rule in AGENT_RULES if rule.event in (None, event) and rule.applies(agent))


@lru_cache(maxsize=8192)
def _by_family(family: str) -> Rule | None:
    return next((rule for rule in AGENT_RULES if rule.by_name and rule.applies(family)), None)


def _verdict(rule: Rule) -> Verdict:
    return Verdict(rule.cls, rule.kind, rule.reason, RULES_VERSION, rule.name)
