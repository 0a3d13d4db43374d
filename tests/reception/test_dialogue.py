"""The arguments of MAIL and RCPT: kept as given, or refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.reception.dialogue import forward_path, reverse_path
from relay.reception.replies import SmtpError

ADDRESSES = [
    "a@b.c",
    "A+b/c=d@X.Y",
    "a.@b.c",
    ".a..b.@b.c",
    "o'brien!#$%&*?^_`{|}~@b.c",
    '"a b"@b.c',
    '"a@b,c>d<e"@b.c',
    '"a\\"b\\\\c"@b.c',
    '""@b.c',
    "a@my_host.b-c.example",
    "a@[127.0.0.1]",
    "a@[IPv6:::1]",
    "ü@bücher.example",
    "a@xn--bcher-kva.example",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_kept_as_given(address):
    assert forward_path(f"TO:<{address}>").address == address
    assert reverse_path(f"from:<{address}> SIZE=1").address == address


@pytest.mark.parametrize("route", ["@one.example:", "@one.example,@two.example:"])
def test_source_routes_are_taken_off(route):
    assert forward_path(f"TO:<{route}a@b.c>").address == "a@b.c"


@pytest.mark.parametrize(
    "address",
    [
        "a@b.c,d@e.f",
        "a@b.c;d@e.f",
        "a b@c.d",
        "a@b@c.d",
        "a@",
        "@b.c",
        "a",
        "a@b c",
        "a@b,c",
        '"a"b@c.d',
        '"a@b.c',
        '"a\x01b"@c.d',
        '"a\tb"@c.d',
        '"a\\\tb"@c.d',
        "a\x01@c.d",
        "a@[\x01]",
        "a@[b\x7f]",
        "a@c\x01d",
        "@one.example,@two.example,a@b.c",
        "x" * 300 + "@b.c",
        "a@" + "x" * 1100,
    ],
)
def test_what_is_no_single_address_is_refused(address):
    for argument in (f"TO:<{address}>", f"TO:{address}"):
        with pytest.raises(SmtpError) as caught:
            forward_path(argument)
        assert caught.value.code in (501, 555)


def test_a_null_reverse_path_is_empty_and_a_null_forward_path_refused():
    assert reverse_path("FROM:<>").address == ""
    with pytest.raises(SmtpError):
        forward_path("TO:<>")


@pytest.mark.parametrize(
    "argument",
    [
        "FROM:<" + "@a," * 1300 + "@a>",
        "FROM:<" + "@a,@" * 900 + ":",
        "FROM:<" + '"\\' * 2000,
        "FROM:<" + '""' * 2000 + "@b.c",
        'FROM:<"' + "\\\\" * 2000,
        "FROM:" + " \t" * 2000 + "<",
        "FROM:<a@b.c>" + " \t" * 2000 + "\x01",
        "FROM:<a@b.c> ENVID=" + "+2" * 2000,
    ],
)
def test_no_line_costs_more_than_its_length(argument):
    began = time.process_time()
    with pytest.raises(SmtpError):
        reverse_path(argument)
    assert time.process_time() - began < 5


soup = st.text(st.sampled_from('<>@,:;"\\ \tab.[]=()+\x01ü'), max_size=60)


@given(soup)
def test_any_soup_is_an_address_that_can_be_sent_on_or_a_refusal(text):
    try:
        path = forward_path(f"TO:{text}")
    except SmtpError:
        return
    assert path.address in text
    assert all(character.isprintable() or not character.isascii() for character in path.address)
