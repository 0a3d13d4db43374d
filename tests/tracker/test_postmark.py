"""Postmark's own clients read our numbers: its official SDK, whose models are strict, and Postmarker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date
from typing import Any

import postmark
import pytest
from postmark.exceptions import InvalidAPIKeyException, ValidationException
from postmarker.core import PostmarkClient
from postmarker.exceptions import ClientError
from starlette.applications import Starlette

from tests.tracker.facts import BROWSER, NOW
from tests.tracker.numbers import Move, PlainNumbers
from tests.tracker.postmark_clients import served
from tests.tracker.tracked import READ_KEY, Clock, configured
from tracker.errors import StoreError
from tracker.reading.auth import Gate
from tracker.reading.postmark_api import PostmarkApi
from tracker.store.base import HitFilter, Row

MESSAGE = "01890a5d-ac96-774b-bcce-b302099a8057"
DAY = 86400.0


class Hits:
    """A log of hits by plain filtering."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def message(self, message: str) -> Row | None:
        return next((row for row in self.rows if row["message"] == message), None)

    def people_hits(self, wanted: HitFilter, limit: int, offset: int, most: int) -> tuple[Sequence[Row], int]:
        asked = {"message": wanted.message, "recipient_address": wanted.recipient, "tag": wanted.tag}
        found = [
            row
            for row in sorted(self.rows, key=lambda row: -row["at"])
            if row["type"] == wanted.event and all(value in (None, row[name]) for name, value in asked.items())
        ]
        return found[offset : offset + limit], min(len(found), most)


def row(event: str, at: float, **changes: Any) -> Row:
    about = {"type": event, "at": at, "message": MESSAGE, "recipient_address": "ann@example.net", "tag": "spring"}
    url = "https://example.com/" if event == "click" else None
    return {**about, "agent": BROWSER, "url": url, "first": True, **changes}


def moves() -> list[Move]:
    """Two days: on the first mail goes out, on the second it is read."""
    first, second = NOW, NOW + DAY
    values = {"device": "desktop", "system": "Windows", "client": "Thunderbird"}
    phone = {"device": "phone", "system": "iOS", "client": "other"}
    opened, clicked = {"opens": 2, "unique_opens": 1}, {"clicks": 3, "unique_clicks": 1}
    out = {"sent": 8, "delivered": 8, "open_tracked": 7, "click_tracked": 5}
    return [
        Move(first, {"messages": 1, "targeted": 10}, first),
        Move(first, out, first),
        Move(first, {"bounced": 1}, first, values={"reason": "hard 5.1.1"}),
        Move(second, {"bounced": 1, "bounced_later": 1}, first, values={"reason": "soft 4.2.2"}),
        Move(first, {"errors": 1}, first),
        Move(second, {"complaints": 1}, first),
        Move(second, opened, first, values=values),
        Move(second, opened, first, values=phone),
        Move(second, {"machine_opens": 9}, first, values=values),
        Move(second, clicked, first, values=values | {"client": "Firefox"}),
        Move(second, {"clicks": 1}, first, tag="other"),
    ]


@pytest.fixture
def hits() -> Hits:
    return Hits(
        [
            *[row("open", NOW + n) for n in range(700)],
            row(
                "open", NOW + 9000, message="01890a5d-0000-774b-bcce-b302099a8057", recipient_address="bob@example.net"
            ),
            row("click", NOW + 5, tag=None, agent=None, recipient_address=None),
        ]
    )


@pytest.fixture
def numbers() -> PlainNumbers:
    return PlainNumbers(moves())


@pytest.fixture
def url(numbers: PlainNumbers, hits: Hits) -> Iterator[str]:
    config, clock = configured(), Clock(NOW + DAY)
    api = PostmarkApi(config, numbers, hits, Gate(config.api_keys, clock), clock)
    with served(Starlette(routes=api.routes())) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[PostmarkClient]:
    client = PostmarkClient(server_token=READ_KEY, root_api_url=url)
    yield client
    client.session.close()


@pytest.fixture
async def official(url: str) -> AsyncIterator[postmark.ServerClient]:
    async with postmark.ServerClient(READ_KEY, retries=0, base_url=url) as client:
        yield client


OVERVIEW = {
    **{"Sent": 9, "Bounced": 2, "SMTPApiErrors": 1, "BounceRate": 22.222},
    **{"SpamComplaints": 1, "SpamComplaintsRate": 11.111, "Opens": 4, "UniqueOpens": 2, "Tracked": 7},
    **{"TotalClicks": 4, "UniqueLinksClicked": 1, "TotalTrackedLinksSent": 5},
    **{"WithClientRecorded": 1, "WithPlatformRecorded": 2, "WithReadTimeRecorded": 0},
    **{"WithLinkTracking": 5, "WithOpenTracking": 7},
}


def test_postmarker_reads_the_overview(client: PostmarkClient) -> None:
    assert client.stats.overview() == OVERVIEW
    only_first = client.stats.overview(fromdate="2026-09-01", todate="2026-09-21")
    assert (only_first["Sent"], only_first["Opens"]) == (9, 0)
    assert client.stats.overview(tag="other")["TotalClicks"] == 1
    assert client.stats.overview(fromdate="2026-09-23", todate="2026-09-30") == dict.fromkeys(OVERVIEW, 0)


def test_postmarker_reads_every_day(client: PostmarkClient) -> None:
    first, second = {"Date": "2026-09-21"}, {"Date": "2026-09-22"}
    assert client.stats.sends() == {"Days": [first | {"Sent": 9}], "Sent": 9}
    assert client.stats.tracked() == {"Days": [first | {"Tracked": 7}], "Tracked": 7}
    assert client.stats.spam() == {"Days": [second | {"SpamComplaint": 1}], "SpamComplaint": 1}
    assert client.stats.opens() == {"Days": [second | {"Opens": 4, "Unique": 2}], "Opens": 4, "Unique": 2}
    assert client.stats.clicks(tag="spring") == {
        "Days": [second | {"Clicks": 3, "Unique": 1}],
        "Clicks": 3,
        "Unique": 1,
    }
    assert client.stats.emailclients() == {"Days": [second | {"Thunderbird": 1}], "Thunderbird": 1}
    assert client.stats.browserfamilies() == {"Days": [second | {"Firefox": 1}], "Firefox": 1}
    platforms = {"Desktop": 1, "Mobile": 1, "Unknown": 0, "WebMail": 0}
    assert client.stats.opens_platforms() == {"Days": [second | platforms], **platforms}
    assert client.stats.location() == {"Days": [second | {"HTML": 1, "Text": 0}], "HTML": 1, "Text": 0}
    bounces = client.stats.bounces()
    assert bounces["Days"] == [
        first | {"HardBounce": 1, "SMTPApiError": 1, "SoftBounce": 0, "Transient": 0},
        second | {"HardBounce": 0, "SMTPApiError": 0, "SoftBounce": 1, "Transient": 0},
    ]
    assert (bounces["HardBounce"], bounces["SoftBounce"], bounces["SMTPApiError"]) == (1, 1, 1)


def test_days_are_those_asked_for(client: PostmarkClient) -> None:
    assert client.stats.opens(todate="2026-09-21") == {"Days": [], "Opens": 0, "Unique": 0}
    assert client.stats.opens(fromdate="2026-09-22", todate="2026-09-22")["Opens"] == 4
    assert client.stats.opens(fromdate="1970-01-01")["Opens"] == 4


async def test_the_official_sdk_reads_all_of_it(official: postmark.ServerClient) -> None:
    overview = await official.stats.overview()
    assert overview.model_dump(by_alias=True).items() <= OVERVIEW.items()
    asked: dict[str, Any] = {"from_date": date(2026, 9, 21), "to_date": date(2026, 9, 22), "message_stream": "outbound"}
    assert (await official.stats.sent_counts(**asked)).sent == 9
    assert (await official.stats.bounce_counts(**asked)).days[1].soft_bounce == 1
    assert (await official.stats.spam_counts(**asked)).spam_complaint == 1
    assert (await official.stats.tracked_counts(**asked)).tracked == 7
    assert (await official.stats.open_counts(**asked)).days[0].unique == 2
    assert (await official.stats.platform_usage(**asked)).days[0].mobile == 1
    assert (await official.stats.email_client_usage(**asked)).model_extra == {"Thunderbird": 1}
    assert (await official.stats.click_counts(tag="spring", **asked)).clicks == 3
    assert (await official.stats.browser_usage(**asked)).model_extra == {"Firefox": 1}
    assert (await official.stats.browser_platform_usage(**asked)).desktop == 1
    assert (await official.stats.click_location(**asked)).html == 1


async def test_the_official_sdk_lists_opens_and_clicks(official: postmark.ServerClient) -> None:
    page = await official.outbound.list_opens(count=2, offset=1)
    assert (page.total, len(page.items)) == (701, 2)
    opened = page.items[0]
    assert (opened.message_id, opened.recipient, opened.tag) == (MESSAGE, "ann@example.net", "spring")
    assert (opened.client.name, opened.os.family, opened.user_agent) == ("Chrome", "Windows", BROWSER)
    assert opened.received_at.timestamp() == NOW + 699
    (clicked,) = (await official.outbound.list_clicks(count=10, offset=0)).items
    assert (clicked.original_link, clicked.click_location, clicked.recipient) == ("https://example.com/", "HTML", "")
    assert (await official.outbound.list_message_clicks(MESSAGE)).total == 1


def test_postmarker_pages_through_all_opens(client: PostmarkClient) -> None:
    opens = client.messages.outbound.opens.all(count=None)
    assert len(opens) == 701
    assert str(opens[0]) == "Open from bob@example.net"
    assert len(client.messages.outbound.opens.all(recipient="bob@example.net")) == 1
    assert len(client.messages.outbound.opens.all(tag="none")) == 0
    assert client.messages.outbound.opens.get(MESSAGE, count=1)["TotalCount"] == 700


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"count": 501, "offset": 0}, "'count'"),
        ({"count": 0}, "'count'"),
        ({"offset": 10_000}, "10000"),
        ({"count": "many"}, "whole number"),
        ({"country": "Denmark"}, "'country'"),
        ({"nonsense": "1"}, "'nonsense'"),
    ],
)
def test_what_is_refused_says_why(client: PostmarkClient, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ClientError, match=sentence) as caught:
        client.call("GET", "/messages/outbound/opens", **asked)
    assert caught.value.error_code == 700


@pytest.mark.parametrize(
    "asked", [{"fromdate": "2026-09-23", "todate": "2026-09-22"}, {"fromdate": "2026-09-22T00:00:00Z"}]
)
def test_a_period_that_cannot_be_is_refused(client: PostmarkClient, asked: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="fromdate"):
        client.stats.sends(**asked)


def test_a_message_that_is_not_there_is_701(client: PostmarkClient) -> None:
    for id in ("01890a5d-ffff-774b-bcce-b302099a8057", "nonsense"):
        with pytest.raises(ClientError) as caught:
            client.messages.outbound.opens.get(id)
        assert caught.value.error_code == 701


async def test_a_wrong_token_is_401_as_postmark_says_it(url: str) -> None:
    client = PostmarkClient(server_token="wrong", root_api_url=url)
    for call in (client.stats.overview, client.stats.clicks_platforms, client.messages.outbound.opens.all):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.error_code == 10
    client.session.close()
    async with postmark.ServerClient("wrong", retries=0, base_url=url) as official:
        with pytest.raises(InvalidAPIKeyException):
            await official.stats.overview()


async def test_the_official_sdk_knows_our_errors(official: postmark.ServerClient) -> None:
    with pytest.raises(ValidationException):
        await official.outbound.list_opens(count=10, offset=0, country="Denmark")


def test_a_store_that_is_away_is_503(client: PostmarkClient, numbers: PlainNumbers, monkeypatch: Any) -> None:
    def away(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(numbers, "series", away)
    with pytest.raises(ClientError) as caught:
        client.stats.sends()
    assert caught.value.error_code == 100
