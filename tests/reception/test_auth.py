"""AUTH: who gets in, who does not, and how long that takes them."""

from __future__ import annotations

import asyncio
import re
import smtplib
import time
from base64 import b64encode

import argon2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.config import RelayConfig
from relay.passwords import hash_password, is_hash, matches
from relay.reception import handshake
from relay.reception.auth import Account, Users, authors
from tests.reception.test_smtpd import MAIL, REPLY, client, codes, server, talk

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
USERS = {"ann": CHEAP.hash("secret"), "bob": {"hash": CHEAP.hash("böb"), "senders": ["*@Bob.test", "b@example.com"]}}
STRANGERS = {"auth": {"users": USERS}, "allow_networks": ["10.0.0.0/8"]}
LOCALS = {"auth": {"users": USERS}}


@pytest.fixture(autouse=True)
def no_delay(monkeypatch):
    monkeypatch.setattr(handshake, "_DELAY_SECONDS", 0.0)


def b64(text: str | bytes) -> bytes:
    return b64encode(text.encode() if isinstance(text, str) else text)


def plain(user: str, password: str, acting_for: str = "") -> bytes:
    return b64(f"{acting_for}\0{user}\0{password}")


ANN, WRONG, BOB = plain("ann", "secret"), plain("ann", "wrong"), plain("bob", "böb")


async def after_ehlo(octets: bytes, **options) -> list[str]:
    async with server(**(options or LOCALS)) as (running, _):
        return codes(await talk(running, b"EHLO me\r\n" + octets))[1:]


@pytest.mark.parametrize(
    "octets",
    [
        b"AUTH PLAIN " + ANN,
        b"auth plain " + ANN,
        b"AuTh PlAiN\r\n" + ANN,
        b"AUTH PLAIN " + plain("ann", "secret", acting_for="ann"),
        b"AUTH LOGIN\r\n" + b64("ann") + b"\r\n" + b64("secret"),
        b"auth login " + b64("ann") + b"\r\n" + b64("secret"),
        b"AUTH PLAIN " + BOB,
    ],
)
async def test_the_right_words_open_the_door(octets):
    async with server(**STRANGERS) as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + octets + b"\r\n" + MAIL.replace(b"a@", b"b@") + b"x\r\n.\r\n")
    assert [code for code in codes(answer) if code != "334"][1:] == [
        *["235 2.7.0", "250 2.1.0", "250 2.1.5"],
        *["354", "250 2.0.0"],
    ]
    assert taken[0].user in ("ann", "bob")
    assert taken[0].trusted
    assert not taken[0].tls


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"AUTH PLAIN " + WRONG, ["535 5.7.8"]),
        (b"AUTH PLAIN " + plain("nobody", "secret"), ["535 5.7.8"]),
        (b"AUTH PLAIN " + plain("", ""), ["535 5.7.8"]),
        (b"AUTH PLAIN " + plain("ANN", "secret"), ["535 5.7.8"]),
        (b"AUTH PLAIN " + plain("ann", "secret", acting_for="bob"), ["535 5.7.8"]),
        (b"AUTH LOGIN\r\n" + b64("ann") + b"\r\n" + b64("secre"), ["334", "334", "535 5.7.8"]),
        (b"AUTH LOGIN =\r\n" + b64("secret"), ["334", "535 5.7.8"]),
        (b"AUTH PLAIN =", ["501 5.5.2"]),
        (b"AUTH PLAIN\r\n", ["334", "501 5.5.2"]),
        (b"AUTH PLAIN\r\n=", ["334", "501 5.5.2"]),
        (b"AUTH PLAIN " + b64("ann"), ["501 5.5.2"]),
        (b"AUTH PLAIN " + b64("\0ann\0secret\0"), ["501 5.5.2"]),
        (b"AUTH PLAIN " + b64(b"\0ann\0secret\xff"), ["501 5.5.2"]),
        (b"AUTH PLAIN " + ANN[:-1], ["501 5.5.2"]),
        (b"AUTH PLAIN " + ANN + b"=", ["501 5.5.2"]),
        (b"AUTH PLAIN \xc3\xbc", ["501 5.5.2"]),
        (b"AUTH PLAIN *", ["501 5.5.2"]),
        (b"AUTH PLAIN\r\n*", ["334", "501 5.7.0"]),
        (b"AUTH LOGIN\r\n*", ["334", "501 5.7.0"]),
        (b"AUTH LOGIN\r\n" + b64("ann") + b"\r\n*", ["334", "334", "501 5.7.0"]),
        (b"AUTH PLAIN " + ANN + b" " + ANN, ["501 5.5.4"]),
        (b"AUTH", ["501 5.5.4"]),
        (b"AUTH CRAM-MD5", ["504 5.5.4"]),
        (b"AUTH PLAIN " + ANN + b"\r\nAUTH PLAIN " + ANN, ["235 2.7.0", "503 5.5.1"]),
        (b"MAIL FROM:<>\r\nAUTH PLAIN " + ANN, ["250 2.1.0", "503 5.5.1"]),
        (b"HELO me\r\nAUTH PLAIN " + ANN, ["250", "503 5.5.1"]),
    ],
)
async def test_all_other_words_do_not(octets, expected):
    assert await after_ehlo(octets + b"\r\n") == expected


async def test_answers_have_a_limit_of_their_own():
    longest = b"A" * 12288
    assert await after_ehlo(b"AUTH PLAIN " + longest + b"\r\n") == ["501 5.5.2"]
    assert await after_ehlo(b"AUTH LOGIN\r\n" + longest + b"\r\n" + longest + b"\r\n") == ["334", "334", "535 5.7.8"]
    assert await after_ehlo(b"AUTH PLAIN\r\n" + longest + b"AAAA\r\nNOOP\r\n") == ["334", "500 5.5.6", "250 2.0.0"]
    assert await after_ehlo(b"AUTH PLAIN\r\n" + longest * 50 + b"\r\nNOOP\r\n") == ["334", "500 5.5.6", "250 2.0.0"]
    assert await after_ehlo(b"AUTH PLAIN " + longest * 50 + b"\r\nNOOP\r\n") == ["500 5.5.2", "250 2.0.0"]


async def test_without_users_it_is_neither_offered_nor_taken():
    async with server() as (running, _):
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n")
    assert b"AUTH" not in answer
    assert codes(answer)[1:] == ["503 5.5.1"]


async def test_it_is_offered_on_loopback_and_not_in_clear_from_elsewhere(monkeypatch):
    async with server(**LOCALS) as (running, _):
        assert b"250-AUTH PLAIN LOGIN\r\n" in await talk(running, b"EHLO me\r\n")
        monkeypatch.setattr(handshake, "_is_loopback", lambda peer: False)
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n" + MAIL)
    assert b"AUTH" not in answer
    assert codes(answer)[1:] == ["538 5.7.11", "250 2.1.0", "250 2.1.5", "354"]


@pytest.mark.parametrize(
    ("peer", "is_loopback"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%lo", False), ("", False), ("/run/socket", False)),
    ],
)
def test_loopback_is_loopback(peer, is_loopback):
    assert handshake._is_loopback(peer) is is_loopback


async def test_bare_newlines_of_users_are_made_whole():
    async with server(**STRANGERS) as (running, taken):
        await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n" + MAIL + b"a\nb\r\n.\r\n")
    assert taken[0].content == b"a\r\nb\r\n"


# -- failures --------------------------------------------------------------------------------------------------------


async def test_five_failures_end_a_session():
    lines = b"AUTH PLAIN " + WRONG + b"\r\n"
    async with server(**LOCALS) as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + lines * 5 + b"AUTH PLAIN " + ANN + b"\r\n" + MAIL, eof=False)
    assert codes(answer)[1:] == ["535 5.7.8"] * 5 + ["421 4.7.0"]
    assert not taken


async def test_failures_are_answered_later_each_time_and_others_meanwhile(monkeypatch):
    monkeypatch.setattr(handshake, "_DELAY_SECONDS", 0.8)
    async with server(**LOCALS) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\n")
        await reader.readuntil(b"250 DSN\r\n")
        for times in (1, 2, 3):
            began = time.monotonic()
            writer.write(b"AUTH PLAIN " + WRONG + b"\r\n")
            reply = asyncio.create_task(reader.readline())
            assert codes(await talk(running, b"NOOP\r\n")) == ["250 2.0.0"]
            assert not reply.done()
            assert (await reply).startswith(b"535 ")
            assert time.monotonic() - began >= 0.8 * times


@pytest.mark.parametrize("how", ["abort", "close", "half-close"])
async def test_a_delay_does_not_outlive_its_client(monkeypatch, how):
    monkeypatch.setattr(handshake, "_DELAY_SECONDS", 3600.0)
    async with server(**LOCALS) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\nAUTH PLAIN " + WRONG + b"\r\nAUTH PLAIN " + ANN + b"\r\n")
        while not running.seat.board.failures("127.0.0.1", time.monotonic()):
            await asyncio.sleep(0.01)
        if how == "half-close":
            writer.write_eof()
            assert codes(await asyncio.wait_for(reader.read(), 60))[1:] == ["535 5.7.8"]
        else:
            writer.transport.abort() if how == "abort" else writer.close()
        async with asyncio.timeout(60):
            while running.sessions:
                await asyncio.sleep(0.01)


async def test_stopping_does_not_wait_for_a_delay(monkeypatch):
    monkeypatch.setattr(handshake, "_DELAY_SECONDS", 3600.0)
    async with server(**LOCALS) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\nAUTH PLAIN " + WRONG + b"\r\n")
        while not running.seat.board.failures("127.0.0.1", time.monotonic()):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            await running.stop()
        assert codes(await reader.read())[1:] == ["421 4.3.2"]


async def fail(running, times: int) -> None:
    for _ in range(times // 4):
        await talk(running, b"EHLO me\r\n" + (b"AUTH PLAIN " + WRONG + b"\r\n") * 4 + b"QUIT\r\n", eof=False)


async def test_twenty_failures_shut_a_stranger_out():
    async with server(**STRANGERS) as (running, _):
        await fail(running, 16)
        assert codes(await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n"))[1:] == ["235 2.7.0"]
        await fail(running, 4)
        assert (await talk(running, b"")).startswith(b"421 4.7.0 ")


async def test_a_host_that_may_relay_goes_on_without_auth_after_twenty_failures():
    async with server(**LOCALS) as (running, taken):
        await fail(running, 20)
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n" + MAIL, eof=False)
        assert codes(answer)[1:] == ["421 4.7.0"]
        assert codes(await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n"))[-1] == "250 2.0.0"
    assert len(taken) == 1


async def test_attempts_made_side_by_side_learn_nothing_after_the_twentieth_failure():
    async with server(**STRANGERS) as (running, _):
        real = running.users.find

        async def find(name: str, password: str) -> Account | None:
            for _ in range(20):
                running.seat.failed("127.0.0.1", time.monotonic())
            return await real(name, password)

        running.users.find = find
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n" + MAIL, eof=False)
    assert codes(answer)[1:] == ["421 4.7.0"]


async def test_no_password_is_logged(capsys):
    async with server(**LOCALS) as (running, _):
        await talk(running, b"EHLO me\r\nAUTH PLAIN " + WRONG + b"\r\nAUTH LOGIN\r\nc2VjcmV0\r\nc2VjcmV0\r\n")
    logged = "".join(capsys.readouterr())
    assert "a login failed" in logged
    for word in ("secret", "wrong", "c2VjcmV0", WRONG.decode()):
        assert word not in logged


# -- senders ---------------------------------------------------------------------------------------------------------


def message(*headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode() + b"\r\nFrom: x@evil.test\r\n.\r\n"


@pytest.mark.parametrize(
    ("envelope", "headers", "code"),
    [
        ("b@example.com", ["From: b@example.com"], "250 2.0.0"),
        ("B@EXAMPLE.com", ["From: Bob <X@bob.TEST>, b@example.com"], "250 2.0.0"),
        ("", ["from : b@example.com"], "250 2.0.0"),
        ("b@example.com", ["Subject: no author"], "250 2.0.0"),
        ("b@example.com", ["From: a@example.com"], "550 5.7.1"),
        ("b@example.com", ["From: b@example.com, a@example.com"], "550 5.7.1"),
        ("b@example.com", ["From: b@example.com", "From: a@example.com"], "550 5.7.1"),
        ("b@example.com", ["FROM\t: a@example.com"], "550 5.7.1"),
        ("b@example.com", ["From:\r\n a@example.com"], "550 5.7.1"),
        ("b@example.com", ['From: "b@example.com" <a@example.com>'], "550 5.7.1"),
        ("b@example.com", ["From: b@example.com <a@example.com>"], "550 5.7.1"),
        ("b@example.com", ["From: nobody"], "550 5.7.1"),
        ("b@example.com", ["From:"], "550 5.7.1"),
        ("b@example.com", ["From: " + "(" * 5000 + " b@example.com"], "550 5.7.1"),
        ("b@example.com", ["From: b@example.com," + " " * 9000 + "a@example.com"], "550 5.7.1"),
        ("b@example.com", ["From: x@evil.test," + " " * 9000 + "x@bob.test"], "550 5.7.1"),
        ("b@example.com", ["From: <x@evil.test x@bob.test>"], "550 5.7.1"),
        ("b@example.com", ["From: x@evil.test@bob.test"], "550 5.7.1"),
        ("b@example.com", ['From: "x@evil.test, y"@bob.test'], "550 5.7.1"),
        ("b@example.com", ["From: =?utf-8?q?x=40evil.test?=, x@bob.test"], "550 5.7.1"),
        ("b@example.com", ["From: " + "a:" * 4000 + " x@bob.test"], "550 5.7.1"),
        ("b@example.com", ["From: team: x@bob.test, x@evil.test;"], "550 5.7.1"),
        ("b@example.com", ["From: team: x@bob.test, b@example.com;"], "250 2.0.0"),
        ("b@example.com", ["no header at all", "From: a@example.com"], "550 5.7.1"),
    ],
)
async def test_a_user_writes_only_from_addresses_of_their_own(envelope, headers, code):
    octets = f"MAIL FROM:<{envelope}>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n".encode() + message(*headers)
    assert (await after_ehlo(b"AUTH PLAIN " + BOB + b"\r\n" + octets))[-1] == code


@pytest.mark.parametrize("envelope", ["a@example.com", "b@example.com.evil.test", "x@y.test"])
async def test_a_user_has_only_reverse_paths_of_their_own(envelope):
    octets = f"MAIL FROM:<{envelope}>\r\n".encode()
    assert (await after_ehlo(b"AUTH PLAIN " + BOB + b"\r\n" + octets))[-1] == "553 5.7.1"
    assert (await after_ehlo(b"AUTH PLAIN " + ANN + b"\r\n" + octets))[-1] == "250 2.1.0"


def test_authors_are_those_of_the_header_section():
    assert authors(b"From: A <a@b.test>\r\n\r\nFrom: c@d.test\r\n") == ["a@b.test"]
    assert authors(b"\r\nFrom: c@d.test\r\n\r\n") == []
    assert authors(b"X-From: c@d.test\r\nSubject: x\r\n From: e@f.test\r\n\r\n") == []
    assert authors(b"From: a@b.test") == ["a@b.test"]


def test_a_long_header_section_takes_no_long_time():
    began = time.process_time()
    authors(b"From: a@b.test\r\n" + b"from" * 2_000_000 + b"\r\nfrom \t \t" * 200_000)
    assert time.process_time() - began < 5


# -- users -----------------------------------------------------------------------------------------------------------


def users(**hashes: str) -> Users:
    return Users(RelayConfig(auth={"users": hashes}).auth.users)


async def test_hashes_are_argon2_as_owasp_asks_and_two_at_a_time(monkeypatch):
    hash = hash_password("secret")
    assert hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert matches(hash, "secret")
    assert not matches(hash, "Secret")
    assert (is_hash(hash), is_hash("secret"), is_hash("$argon2id$v=19$nonsense"), is_hash("$2b$12$abc")) == (
        *(True, False),
        *(False, False),
    )
    running, most = 0, 0

    def slow(hash: str, password: str) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1
        return False

    monkeypatch.setattr("relay.passwords.matches", slow)
    some = users(ann=hash)
    assert await asyncio.gather(*(some.find("ann", str(number)) for number in range(10))) == [None] * 10
    assert most == 2


async def test_a_right_password_is_checked_once_and_a_wrong_one_each_time(monkeypatch):
    checked: list[str] = []

    def check(hash: str, password: str) -> bool:
        checked.append(password)
        time.sleep(0.02)
        return password == "secret"

    monkeypatch.setattr("relay.passwords.matches", check)
    some = users(ann=CHEAP.hash("x"), bob=CHEAP.hash("y"))
    assert await asyncio.gather(*(some.find("ann", "secret") for _ in range(3))) == [Account("ann")] * 3
    assert len(checked) <= 2
    checked.clear()
    assert await some.find("ann", "secret") == Account("ann")
    assert checked == []
    for _ in range(2):
        assert await some.find("ann", "wrong") is None
        assert await some.find("nobody", "secret") is None
    assert checked == ["wrong", "secret"] * 2
    later = time.monotonic() + 301
    monkeypatch.setattr("relay.reception.auth.time.monotonic", lambda: later)
    assert await some.find("ann", "secret") == Account("ann")
    assert len(checked) == 5


async def test_what_is_remembered_is_bounded_and_no_password(monkeypatch):
    monkeypatch.setattr("relay.reception.auth._MOST_REMEMBERED", 3)
    monkeypatch.setattr("relay.passwords.matches", lambda hash, password: True)
    some = users(ann=CHEAP.hash("x"))
    for number in range(10):
        assert await some.find("ann", f"secret{number}")
    assert len(some._remembered) == 3
    assert "secret" not in repr(some._remembered)


async def test_unknown_names_take_as_long_as_known_ones():
    some = users(ann=hash_password("secret"))
    times: dict[str, list[float]] = {"ann": [], "nobody": []}
    for _ in range(10):
        for name, taken in times.items():
            began = time.process_time()
            assert await some.find(name, "wrong") is None
            taken.append(time.process_time() - began)
    assert 0.5 < min(times["ann"]) / min(times["nobody"]) < 2


async def test_nobody_is_anybody_where_there_are_no_users():
    assert await users().find("", "") is None


async def test_new_users_hold_once_the_configuration_is_reloaded():
    async with server(**LOCALS) as (running, _):
        running.reload(RelayConfig(auth={"users": {"eve": CHEAP.hash("new")}}))
        wrong = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n")
        right = await talk(running, b"EHLO me\r\nAUTH PLAIN " + plain("eve", "new") + b"\r\n")
    assert (codes(wrong)[1:], codes(right)[1:]) == (["535 5.7.8"], ["235 2.7.0"])


# -- strangers' clients, hostile ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
async def test_smtplib_logs_in(mechanism):
    def send(address: tuple[str, int]) -> None:
        with smtplib.SMTP(*address, timeout=10) as smtp:
            smtp.ehlo()
            smtp.user, smtp.password = "ann", "secret"
            smtp.auth(mechanism.removeprefix("auth_").upper(), getattr(smtp, mechanism))
            smtp.sendmail("a@b.test", ["c@d.test"], "Subject: x\r\n\r\ny")
        with smtplib.SMTP(*address, timeout=10) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.login("ann", "wrong")
        assert caught.value.smtp_code == 535

    async with server(**STRANGERS) as (running, taken):
        await asyncio.to_thread(send, running.addresses[0])
    assert taken[0].user == "ann"


async def test_what_is_pipelined_into_auth_is_an_answer_and_no_command():
    octets = b"AUTH LOGIN\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nAUTH PLAIN\r\nDATA\r\nRCPT TO:<c@d.test>\r\n"
    async with server(**STRANGERS) as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + octets)
    assert codes(answer)[1:] == ["334", "501 5.5.2", "503 5.5.1", "334", "501 5.5.2", "503 5.5.1"]
    assert not taken


_pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"AUTH PLAIN ", b"AUTH LOGIN ", b"auth plain", b"AUTH ", b"EHLO x", b"RSET", b"*", b"=", b" ", b"\0"]
    ),
    st.sampled_from([WRONG, b64("ann"), b64("wrong"), b64("\0\0"), ANN[:-4], b"AUTH PLAIN " + WRONG]),
    st.binary(max_size=30).map(b64),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(_pieces, st.sampled_from([b"\r\n", b"\r\n", b"", b"\n"])), max_size=20))
def test_no_octets_let_anybody_in_by_accident(pieces):
    async def check() -> None:
        async with server(**STRANGERS) as (running, taken):
            octets = b"".join(piece + end for piece, end in pieces) + b"\r\n" + MAIL + b"x\r\n.\r\nQUIT\r\n"
            answer = await talk(running, b"EHLO me\r\n" + octets, eof=False)
            assert not taken
            assert b"\r\n235 " not in answer
            assert b"Something failed" not in answer
            while answer:
                reply = re.match(rb"334 [A-Za-z0-9+/=]*\r\n", answer) or REPLY.match(answer)
                assert reply, answer
                answer = answer[reply.end() :]

    asyncio.run(check())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=30), st.text(max_size=30))
def test_only_the_right_password_of_the_right_user_lets_in(user, password):
    async def check() -> None:
        async with server(**STRANGERS) as (running, _):
            words = [b"AUTH LOGIN", b64(user), b64(password)]
            answer = await talk(running, b"EHLO me\r\n" + b"\r\n".join(words) + b"\r\n")
        assert (codes(answer)[-1] == "235 2.7.0") == ((user, password) in {("ann", "secret"), ("bob", "böb")})

    asyncio.run(check())
