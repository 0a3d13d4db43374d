"""The picture of a mail: each of our links with its number and its clicks, and every other link dead."""

from __future__ import annotations

from lxml import html

from tracker.mirror import Document, Kind, Picture, Splice
from tracker.reading.picture import SHADES, picture, plain, shade, text_of

DOCUMENT = Document(
    (
        (
            "<p>link0- <a href='",
            Splice(Kind.CLICK, "https://x.test/", 1),
            "'>one</a><a href=\"",
            Splice(Kind.CLICK, "https://x.test/2", 2),
            '">two</a><a href=',
            Splice(Kind.OPT_OUT, "{{unsubscribe_url}}", 3),
            ">three</a><a href='",
            Splice(Kind.PLAIN, "https://x.test/{{recipient.email}}", 4),
            "'>four</a><a href=https://elsewhere.test/>five</a><img src='",
            Splice(Kind.PICTURE, "logo@x"),
            "'>",
        ),
        ("<p>second ", "<a href='", Splice(Kind.CLICK, "https://y.test/", 5), "'>six</a>"),
    ),
    {"logo@x": Picture("image/png", "AAAA")},
    "https://t.test",
)


def shown(clicks: dict[int, int]) -> list[tuple[str, str]]:
    tree = html.fromstring(picture(DOCUMENT, clicks))
    return [(each.text_content(), each.get("href", "")) for each in tree.iter("a")]


def test_each_link_of_ours_bears_its_number_and_its_clicks() -> None:
    assert shown({1: 3, 2: 12345, 3: 0, 5: 1}) == [
        ("13one", "#link1-1"),
        ("212ktwo", "#link1-2"),
        ("30three", "#link1-3"),
        ("four", "#"),
        ("five", "#"),
        ("50six".replace("0", "1"), "#link1-5"),
    ]


def test_a_mail_that_has_our_marks_in_it_gets_no_numbers_of_its_own() -> None:
    text = "<a href='#link0-1'>fake</a><a href='"
    document = Document(((text, Splice(Kind.CLICK, "https://x.test/", 1), "'>true</a>"),))
    tree = html.fromstring(picture(document, {1: 9}))
    assert [(each.text_content(), each.get("href")) for each in tree.iter("a")] == [
        ("fake", "#"),
        ("19true", "#link1-1"),
    ]


def test_pictures_of_the_mail_are_inside_and_no_url_of_ours_is() -> None:
    for text in (picture(DOCUMENT, {1: 1}), plain(DOCUMENT), text_of(DOCUMENT)):
        assert "src='data:image/png;base64,AAAA'" in text
        assert "t.test" not in text
        assert "https://x.test" not in text
    assert "elsewhere.test" not in plain(DOCUMENT)


def test_a_link_is_the_darker_the_larger_its_share() -> None:
    assert [shade(clicks, 100) for clicks in (0, 1, 25, 26, 50, 75, 99, 100)] == [0, 1, 1, 2, 2, 3, 4, 4]
    assert shade(1, 1) in range(1, len(SHADES))
    assert shade(0, 0) == shade(5, 0) == 0
