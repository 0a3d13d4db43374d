"""The reports: periods, what each rate is of, one shape for everybody."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import NOW
from tests.tracker.numbers import Move, PlainNumbers, summed
from tracker.reading import reports
from tracker.reading.params import BadRequest, rfc3339
from tracker.reading.reports import COUNTS, RATES, TABLES, Period
from tracker.store.base import COLUMNS, ReportFilter

BERLIN, KOLKATA, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia")
EVERYBODY = ReportFilter()
HOUR, DAY = 3600.0, 86400.0


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def overall(zone: ZoneInfo = BERLIN, now: float = NOW, **asked: str) -> Period:
    return reports.overall({name.rstrip("_"): text for name, text in asked.items()}, now, zone)


# -- periods ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", [UTC, BERLIN, KOLKATA])
def test_live_is_24_hours_of_which_the_last_is_under_way(zone):
    period = reports.live(NOW + 1234.5, zone)
    assert len(period.bounds) == 25
    assert {end - start for start, end in pairwise(period.bounds)} == {HOUR}
    assert period.bounds[-2] <= NOW + 1234.5 < period.until
    assert all(datetime.fromtimestamp(bound, zone).minute == 0 for bound in period.bounds)


def test_live_begins_a_new_hour_on_the_stroke():
    assert reports.live(at("2026-11-24T13:00"), BERLIN).bounds[-2] == at("2026-11-24T13:00")
    assert reports.live(at("2026-11-24T12:59:59"), BERLIN).bounds[-2] == at("2026-11-24T12:00")


def test_global_is_the_last_30_days_today_included():
    period = overall(now=at("2026-11-24T23:59"))
    assert (period.since, period.until) == (at("2026-10-26"), at("2026-11-25"))
    assert len(period.bounds) == 31


def test_a_bare_date_is_that_whole_day():
    period = overall(from_="2026-01-31", to="2026-01-31")
    assert period.bounds == [at("2026-01-31"), at("2026-02-01")]
    assert overall(from_="2026-11-20", now=at("2026-11-24T10:00")).until == at("2026-11-25")
    assert overall(to="2026-01-31").since == at("2026-01-02")


def test_the_first_and_the_last_day_are_cut_to_the_period():
    period = overall(from_="2026-01-30T15:00:01+01:00", to="2026-02-01T00:00:01+01:00")
    assert period.bounds == [
        *(at("2026-01-30T15:00:01"), at("2026-01-31"), at("2026-02-01"), at("2026-02-01T00:00:01")),
    ]
    second = overall(from_="2026-01-30T10:00:00Z", to="2026-01-30T10:00:01Z")
    assert second.bounds == [at("2026-01-30T11:00"), at("2026-01-30T11:00:01")]


def test_days_on_which_the_clocks_are_put_have_23_or_25_hours():
    spring, autumn = overall(from_="2026-03-28", to="2026-03-30"), overall(from_="2026-10-24", to="2026-10-26")
    assert [(end - start) / HOUR for start, end in pairwise(spring.bounds)] == [24, 23, 24]
    assert [(end - start) / HOUR for start, end in pairwise(autumn.bounds)] == [24, 25, 24]


def test_a_day_that_the_calendar_left_out_has_no_interval():
    samoa = ZoneInfo("Pacific/Apia")
    bounds = overall(samoa, from_="2011-12-29", to="2011-12-31").bounds
    assert [datetime.fromtimestamp(bound, samoa).day for bound in bounds] == [29, 31, 1]


@given(
    st.sampled_from(ZONES).map(ZoneInfo),
    st.datetimes(datetime(1975, 1, 1), datetime(2030, 1, 1)),
    st.integers(1, 400 * 86400),
)
def test_intervals_cover_a_period_and_meet_at_local_midnights(zone, begin, seconds):
    since = begin.replace(microsecond=0, tzinfo=UTC)
    until = since + timedelta(seconds=seconds)
    period = overall(zone, from_=since.isoformat(), to=until.isoformat())
    assert (period.since, period.until) == (since.timestamp(), until.timestamp())
    assert all(start < end for start, end in pairwise(period.bounds))
    days = [datetime.fromtimestamp(start, zone).date() for start in period.bounds[:-1]]
    assert days == sorted(set(days))
    for (_, inner), last in zip(pairwise(period.bounds[:-1]), days, strict=False):
        assert datetime.fromtimestamp(inner - 1, zone).date() == last
    assert datetime.fromtimestamp(period.until - 1, zone).date() == days[-1]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"from": "2026-02-01", "to": "2026-01-31"}, "before 'to'"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "before 'to'"),
        ({"from": "2027-01-01"}, "before 'to'"),
        ({"from": "2010-01-01", "to": "2026-01-01"}, "ten years"),
        ({"from": "0001-01-01"}, "'from'"),
        ({"to": "9999-12-31"}, "'to'"),
        ({"from": "9999-12-30T00:00:00Z", "to": "9999-12-31T23:59:59Z"}, "years 1 to"),
        ({"from": "yesterday"}, "2026-01-31"),
        ({"to": "2026-02-30"}, "2026-01-31"),
    ],
)
def test_a_period_that_cannot_be_is_refused_with_what_to_do(asked, sentence):
    with pytest.raises(BadRequest, match=sentence):
        reports.overall(asked, NOW, BERLIN)


# -- numbers ---------------------------------------------------------------------------------------------------------

PRIMES = dict(
    zip(
        COLUMNS, (2, 997, 3, 5, 883, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73), strict=True
    )
)


def test_each_rate_is_what_the_documents_say():
    assert reports.rates({**PRIMES, "pending": 0}) == {
        "delivery": round(883 / 994, 6),
        "bounce": round(7 / 994, 6),
        "error": round(13 / 994, 6),
        "open": round(37 / 19, 6),
        "unique_open": round(41 / 29, 6),
        "click": round(47 / 23, 6),
        "unique_click": round(53 / 31, 6),
        "click_to_open": round(61 / 41, 6),
        "opt_out": round(67 / 883, 6),
        "complaint": round(17 / 883, 6),
    }


def test_a_rate_of_nothing_is_none():
    nothing = dict.fromkeys((*COLUMNS, "pending"), 0)
    assert reports.rates(nothing) == dict.fromkeys(RATES)
    assert reports.rates({**nothing, "targeted": 3, "suppressed": 3})["delivery"] is None


def made(moves: list[Move], since: float = NOW, until: float = NOW + DAY, **wanted: str) -> dict:
    return reports.report(PlainNumbers(moves), Period("global", [since, until]), ReportFilter(**wanted), UTC)


def test_counts_are_by_event_and_rates_by_the_mail_accepted():
    sent = {"sent": 1, "delivered": 1, "open_tracked": 1, "attributed_open_tracked": 1}
    opened = {"opens": 1, "unique_opens": 1}
    moves = [
        Move(NOW - 5, {"messages": 1, "targeted": 1}, NOW - 5),
        Move(NOW - 4, sent, NOW - 5),
        Move(NOW + 5, opened, NOW - 5),
        Move(NOW + 1, {"messages": 1, "targeted": 3}, NOW + 1),
        Move(NOW + 2, sent, NOW + 1),
        Move(NOW + DAY + 1, sent, NOW + 1),
        Move(NOW + DAY + 2, opened, NOW + 1),
    ]
    report = made(moves)
    assert report["totals"] | {"messages": 1, "recipients": 3, "sent": 1, "opens": 1, "pending": 1} == report["totals"]
    assert (report["rates"]["delivery"], report["rates"]["open"]) == (round(2 / 3, 6), 0.5)


def test_uniques_are_none_where_nothing_is_tied_to_a_recipient():
    loose = Move(NOW + 1, {"sent": 1, "open_tracked": 1, "opens": 2}, NOW, tag="loose", values={"tag": "loose"})
    tied = Move(NOW + 1, {"sent": 1, "open_tracked": 1, "attributed_open_tracked": 1}, NOW, values={"tag": "spring"})
    alone = made([loose])
    assert (alone["totals"]["unique_opens"], alone["totals"]["unique_clicks"]) == (None, None)
    assert (alone["series"][0]["unique_opens"], alone["tags"][0]["unique_opens"]) == (None, None)
    assert (alone["rates"]["unique_open"], alone["rates"]["click_to_open"]) == (None, None)
    assert alone["totals"]["opens"] == 2
    assert made([loose, tied])["totals"]["unique_opens"] == 0
    assert made([])["totals"]["unique_opens"] == 0


@pytest.mark.parametrize("name", ["opens", "clicks"])
def test_uniques_are_0_where_all_who_read_had_done_so_before(name):
    again = Move(NOW + 1, {name: 1}, NOW - DAY, values={"domain": "example.net"})
    assert made([again])["totals"] | {name: 1, "unique_opens": 0, "unique_clicks": 0} == made([again])["totals"]


MOVES = st.lists(
    st.builds(
        Move,
        st.integers(int(NOW), int(NOW + 3 * DAY)).map(float),
        st.dictionaries(st.sampled_from(COLUMNS), st.integers(1, 5), max_size=4),
        st.integers(int(NOW - DAY), int(NOW + 3 * DAY)).map(float),
        st.sampled_from(["a@example.com", "b@example.com"]),
        st.sampled_from(["spring", "=1+1"]),
        st.dictionaries(
            st.sampled_from(["url", "path", "label", "domain", "device", "system", "client", "tag"]),
            st.sampled_from(["one", "@two", "three"]),
        ),
    ),
    max_size=20,
)


@given(MOVES, st.sampled_from([None, "a@example.com"]), st.sampled_from([None, "spring"]))
def test_a_report_is_a_plain_sum_and_its_tables_say_the_same(moves, sender, tag):
    bounds = [NOW + DAY / 2, NOW + DAY, NOW + 2 * DAY, NOW + 2.5 * DAY]
    report = reports.report(PlainNumbers(moves), Period("global", bounds), ReportFilter(sender, tag), UTC)
    mine = [move for move in moves if sender in (None, move.sender) and tag in (None, move.tag)]
    plain = summed([move for move in mine if bounds[0] <= move.at < bounds[-1]])
    of_cohort = summed([move for move in mine if bounds[0] <= move.accepted_at < bounds[-1]])
    for name in COUNTS:
        value = report["totals"][name]
        if name not in ("recipients", "pending") and value is not None:
            assert value == plain[name] == sum(row[name] for row in report["series"])
    assert report["totals"]["recipients"] == plain["targeted"]
    assert report["rates"] == reports.rates({**of_cohort, "pending": 0})
    assert [row["start"] for row in report["series"]] == [rfc3339(bound) for bound in bounds[:-1]]
    for table in TABLES:
        text = reports.as_csv(report, table).decode()
        cells = list(csv.DictReader(io.StringIO(text, newline="")))
        rows = reports.rows_of(report, table)
        assert len(cells) == len(rows)
        for said, row in zip(cells, rows, strict=True):
            assert {name: text.removeprefix("'") for name, text in said.items()} == {
                name: "" if row[name] is None else str(row[name]) for name in said
            }


def test_lists_hold_what_is_largest_first():
    moves = [Move(NOW, {"clicks": n}, NOW, values={"url": f"https://example.com/{n}"}) for n in range(1, 120)]
    moves.append(Move(NOW, {"bounced": 2}, NOW, values={"reason": "hard 5.1.1", "domain": "example.net"}))
    moves.append(Move(NOW, {"opens": 1}, NOW, values={"device": "phone", "client": "Apple Mail"}))
    report = made(moves)
    links = report["top_links"]["by_url"]
    assert len(links) == reports.MOST
    assert links[0] == {
        **{"url": "https://example.com/119", "clicks": 119},
        **{"unique_clicks": None, "machine_clicks": 0},
    }
    assert report["bounce_reasons"] == [{"class": "hard", "code": "5.1.1", "bounced": 2}]
    assert report["clients"]["mail_client"][0]["name"] == "Apple Mail"
    assert report["clients"]["system"] == []
    assert report["recipient_domains"][0]["bounced"] == 2
