"""Hits of one copy in the light of each other: what the contract says, whatever the order they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.hits.judging import BURST_SECONDS, WINDOW, Judged, as_repeat, judge, parted, stands
from tracker.model import HitClass, Verdict

T = 1_790_000_000.0
PERSON = Verdict(HitClass.HUMAN, "browser", "an ordinary browser", 1, "browser")
PROXY = Verdict(HitClass.HUMAN, "image_proxy", "an image proxy", 1, "image-proxy")
HEAD = Verdict(HitClass.MACHINE, "head", "a HEAD request", 1, "head")
BOT = Verdict(HitClass.MACHINE, "bot", "a crawler", 1, "crawler")


def hits(*what: tuple[float, int] | tuple[float, int, Verdict]) -> list[Judged]:
    """Hits at so many seconds, on a position (0: the pixel), by a person unless told."""
    return [
        Judged(f"{n:04}", T + at, "click" if position else "open", position, verdict[0] if verdict else PERSON)
        for n, (at, position, *verdict) in enumerate(what)
    ]


def kinds(verdicts: Sequence[Verdict]) -> list[str]:
    return [f"{verdict.cls} {verdict.kind}" for verdict in verdicts]


def naively(hits: Sequence[Judged], links: int | None) -> list[tuple[HitClass, bool]]:
    """The contract, sentence by sentence: the class of each hit, and whether it is a repeat."""
    needed = links if links in (3, 4) else 5
    clicks = [hit for hit in hits if hit.event == "click"]
    classes = {hit.id: hit.verdict.cls for hit in hits}
    for first in clicks:
        within = [hit for hit in clicks if 0 <= hit.at - first.at <= 1.0]
        if len({hit.position for hit in within}) >= needed:
            classes.update({hit.id: HitClass.MACHINE for hit in within})
    counted: list[Judged] = []
    for hit in sorted(hits, key=lambda each: (each.at, each.id)):
        before = [each for each in counted if each.token == hit.token and classes[each.id] is classes[hit.id]]
        if not before or hit.at - before[-1].at > 10.0:
            counted.append(hit)
    return [(classes[hit.id], hit not in counted) for hit in hits]


TIMES = st.one_of(
    st.integers(0, 60).map(lambda tenths: T + tenths / 10),
    st.integers(0, 60).map(lambda seconds: T + seconds),
    st.floats(0, 60).map(lambda seconds: T + seconds),
)
LINKS = st.sampled_from([None, 1, 2, 3, 4, 5, 6, 40])


@st.composite
def copies(draw: st.DrawFn) -> list[Judged]:
    rows = draw(
        st.lists(
            st.tuples(
                TIMES, st.sampled_from([0, 1, 2, 3, 4, 5, 6, -1, -2]), st.sampled_from([PERSON, PROXY, HEAD, BOT])
            ),
            max_size=40,
        )
    )
    names = draw(st.permutations([f"{n:04}" for n in range(len(rows))]))
    return [
        Judged(name, at, "click" if position else "open", position, verdict)
        for name, (at, position, verdict) in zip(names, rows, strict=True)
    ]


@settings(max_examples=500, deadline=None)
@given(copies(), LINKS)
def test_it_is_what_the_contract_says(copy: list[Judged], links: int | None) -> None:
    judged = judge(copy, links)
    assert [(verdict.cls, verdict.kind == "repeat") for verdict in judged] == naively(copy, links)


@settings(max_examples=300, deadline=None)
@given(copies(), LINKS, st.randoms(use_true_random=False))
def test_the_order_in_which_they_come_in_does_not_matter(copy: list[Judged], links: int | None, chance) -> None:  # type: ignore[no-untyped-def]
    expected = {hit.id: verdict for hit, verdict in zip(copy, judge(copy, links), strict=True)}
    chance.shuffle(copy)
    assert {hit.id: verdict for hit, verdict in zip(copy, judge(copy, links), strict=True)} == expected


@settings(max_examples=200, deadline=None)
@given(copies(), LINKS)
def test_nothing_is_dropped_and_all_stays_told(copy: list[Judged], links: int | None) -> None:
    judged = judge(copy, links)
    assert len(judged) == len(copy)
    for hit, verdict in zip(copy, judged, strict=True):
        assert (verdict.rule, verdict.rules) == (hit.verdict.rule, hit.verdict.rules)
        assert verdict.reason
        if verdict.cls is hit.verdict.cls:
            assert verdict in (hit.verdict, as_repeat(hit.verdict, 0, 0))
        else:
            assert (verdict.cls, hit.event) == (HitClass.MACHINE, "click")


@settings(max_examples=200, deadline=None)
@given(copies(), LINKS)
def test_judging_the_judged_changes_nothing(copy: list[Judged], links: int | None) -> None:
    judged = judge(copy, links)
    again = [replace(hit, verdict=verdict) for hit, verdict in zip(copy, judged, strict=True)]
    assert judge(again, links) == judged


@settings(max_examples=200, deadline=None)
@given(copies(), LINKS, st.data())
def test_one_more_hit_makes_no_machine_a_person(copy: list[Judged], links: int | None, data: st.DataObject) -> None:
    some = copy[: data.draw(st.integers(0, len(copy)))]
    for before, after in zip(judge(some, links), judge(copy, links), strict=False):
        assert (before.cls, after.cls) != (HitClass.MACHINE, HitClass.HUMAN)


@settings(max_examples=500, deadline=None)
@given(copies(), LINKS, st.data())
def test_looking_near_new_hits_is_enough(copy: list[Judged], links: int | None, data: st.DataObject) -> None:
    """What a store does: some hits are known and judged; of what comes in new, only the neighbourhood is read."""
    cut = data.draw(st.integers(0, len(copy)))
    known, new = copy[:cut], copy[cut:]
    if not new:
        return
    final = {hit.id: verdict for hit, verdict in zip(known, judge(known, links), strict=True)}
    first, last = min(hit.at for hit in new), max(hit.at for hit in new)
    near = []
    for hit in sorted(known, key=lambda each: each.at):
        if hit.at >= first - WINDOW:
            if hit.at > last and parted(max(last, near[-1].at if near else last), hit.at):
                break
            near.append(hit)
    standing = {hit.id: final[hit.id] for hit in near if stands(hit.at, first)}
    both = near + new
    final.update({hit.id: verdict for hit, verdict in zip(both, judge(both, links, standing), strict=True)})
    assert [final[hit.id] for hit in copy] == judge(copy, links)


@settings(max_examples=200, deadline=None)
@given(copies(), LINKS, TIMES)
def test_a_hit_with_none_near_is_judged_alone(copy: list[Judged], links: int | None, at: float) -> None:
    new = Judged("new", at, "click", 1, PERSON)
    far = [hit for hit in copy if abs(hit.at - at) > WINDOW]
    assert judge([*far, new], links) == [*judge(far, links), PERSON]


@pytest.mark.parametrize("links", [None, 5, 6, 40, 1, 2])
def test_five_links_within_a_second_are_a_scanner(links: int | None) -> None:
    judged = judge(hits((0, 1), (0.2, 2), (0.4, 3), (0.6, 4), (1.0, 5), (2.1, 6)), links)
    assert kinds(judged) == ["machine scanner"] * 5 + ["human browser"]
    assert judged[0].reason == "five or more links of the copy within a second"


@pytest.mark.parametrize("links", [3, 4])
def test_all_of_three_or_four_are_too(links: int) -> None:
    every = hits(*((n / 10, n + 1) for n in range(links)))
    judged = judge(every, links)
    assert kinds(judged) == ["machine scanner"] * links
    assert judged[0].reason == "every link of the copy within a second"
    assert kinds(judge(every[1:], links)) == ["human browser"] * (links - 1)


@pytest.mark.parametrize("links", [1, 2, 5, 6, None])
def test_two_or_three_links_in_tabs_are_a_person(links: int | None) -> None:
    assert kinds(judge(hits((0, 1), (0, 2), (0.1, 3)), links)) == ["human browser"] * 3


def test_the_second_slides() -> None:
    slow = hits(*((n * 0.3, n + 1) for n in range(12)))
    assert kinds(judge(slow, 12)) == ["human browser"] * 12
    assert kinds(judge(hits(*((n * 0.25, n + 1) for n in range(12))), 12)) == ["machine scanner"] * 12


def test_one_link_many_times_is_no_burst() -> None:
    assert kinds(judge(hits(*((n / 10, 1) for n in range(9))), 9)) == ["human browser"] + ["human repeat"] * 8


def test_heads_and_machines_make_up_the_number_and_keep_their_kind() -> None:
    judged = judge(hits((0, 1, HEAD), (0.1, 2, BOT), (0.2, 3, HEAD), (0.3, 4), (0.4, 5)), 9)
    assert kinds(judged) == ["machine head", "machine bot", "machine head", "machine scanner", "machine scanner"]


def test_opens_are_apart_from_clicks() -> None:
    judged = judge(hits((0, 0), (0, 1), (0.1, 2), (0.2, 3), (0.3, 4), (20, 0)), 9)
    assert kinds(judged) == ["human browser"] * 6
    assert kinds(judge(hits((0, 0), *((0.1 * n, n) for n in range(1, 6))), 9))[0] == "human browser"


def test_a_chain_of_repeats_does_not_go_on() -> None:
    judged = judge(hits((0, 1), (6, 1), (10, 1), (10.5, 1), (20.5, 1), (20.6, 1)), 9)
    assert [verdict.kind for verdict in judged] == ["browser", "repeat", "repeat", "browser", "repeat", "browser"]


def test_a_machine_s_hit_makes_no_person_s_a_repeat() -> None:
    judged = judge(hits((0, 1, BOT), (1, 1), (2, 1, HEAD), (3, 1), (4, 2)), 9)
    assert kinds(judged) == ["machine bot", "human browser", "machine repeat", "human repeat", "human browser"]
    assert judged[2].reason == "again within 10 s (head)"


def test_what_a_burst_takes_away_counts_again() -> None:
    """A person's click just before a burst stays; the one that the burst takes makes no later one a repeat."""
    burst = hits((0, 1), (0.1, 2), (0.2, 3), (0.3, 4), (0.4, 5), (5, 1), (6, 1))
    assert kinds(judge(burst, 9)) == ["machine scanner"] * 5 + ["human browser", "human repeat"]


def test_a_repeat_keeps_its_class() -> None:
    assert as_repeat(PERSON, 100.0, None) == PERSON
    assert as_repeat(PERSON, 100.0, 89.9) == PERSON
    for counted_at in (90.0, 100.0, 105.0):
        again = as_repeat(PERSON, 100.0, counted_at)
        assert (again.cls, again.kind, again.rule) == (HitClass.HUMAN, "repeat", "browser")


def test_ten_thousand_hits_are_judged_at_once() -> None:
    many = hits(*((n / 1000, n % 50) for n in range(10_000)))
    assert len(judge(many, 49)) == 10_000
    assert BURST_SECONDS < WINDOW
