"""The mails that are sent in benchmarks and to real peers, the same octets on every machine."""

from __future__ import annotations

import quopri
from itertools import cycle, islice

LINKS = 25
"""Tracked links in the newsletter."""

_WORDS = """
    harbour lantern über meadow copper ripple façade thistle velvet garden orbit paper whistle März amber kettle
    bridge pollen quiet cinder marble señor willow anchor saffron pebble evening Straße drift hollow maple – signal
""".split()  # noqa: SIM905 - prose
_BOUNDARY = "=_tp_3f1c6b0a9d5e4287=="
_STYLE = (
    "font-family:Georgia,'Times New Roman',serif;font-size:15px;line-height:22px;color:#3b4048;mso-line-height-rule:"
    "exactly"
)


def newsletter() -> bytes:
    """About 48 KB of quoted-printable HTML in tables, with 25 links, and a text part. Line ends are CRLF."""
    stories = "\n".join(_story(number) for number in range(1, LINKS + 1))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>The week</title>\n'
        "<style>a:hover{text-decoration:underline} @media (max-width:600px){.w{width:100% !important}}</style>\n"
        "<!--[if mso]><style>td{font-family:Arial !important}</style><![endif]--></head>\n"
        '<body style="margin:0;padding:0;background:#f4f5f7">\n'
        '<table role="presentation" class="w" width="600" cellpadding="0" cellspacing="0" align="center">\n'
        f"{stories}\n</table>\n</body></html>\n"
    )
    text = "\n".join(f"{number}. {_url(number)}" for number in range(1, LINKS + 1))
    return _mail("=?utf-8?Q?The_week_=E2=80=93_25_stories?=", text, page)


def notice() -> bytes:
    """About 3 KB, with two links: a mail of the kind that an app sends to one person. Line ends are CRLF."""
    lines = "\n".join(f'<p style="color:#51545e">{_prose(number, 10)}.</p>' for number in range(18))
    page = (
        "<!DOCTYPE html>\n<html><head><title>Your order</title></head><body>\n<p>Hello Ann,</p>\n"
        f'<p><a href="{_url(1)}&amp;from=notice" style="background:#3869d4;color:#fff">See your order</a></p>\n'
        f'{lines}\n<p>Is something wrong? <a href="{_url(2)}">Tell us</a>.</p>\n</body></html>\n'
    )
    return _mail("Your order is on its way", f"Hello Ann,\n\n{_url(1)}", page)


def _mail(subject: str, text: str, page: str) -> bytes:
    quoted = quopri.encodestring(page.encode()).decode("ascii")
    mail = (
        "From: The Week <news@example.com>\nTo: Ann <ann@example.net>\n"
        f"Subject: {subject}\nDate: Mon, 01 Jan 2024 09:00:00 +0000\nMessage-ID: <the-week@example.com>\n"
        f'MIME-Version: 1.0\nContent-Type: multipart/alternative;\n boundary="{_BOUNDARY}"\n\n'
        f"--{_BOUNDARY}\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\n{text}\n\n"
        f"--{_BOUNDARY}\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        f"{quoted}\n--{_BOUNDARY}--\n"
    )
    return mail.replace("\n", "\r\n").encode("ascii")


def _story(number: int) -> str:
    return (
        f'<tr><td class="w" style="padding:18px 24px;border-bottom:1px solid #d9dce1;{_STYLE}">\n'
        f'<h2 style="margin:0 0 8px 0;font-size:20px;line-height:26px;color:#1c1f24">{_prose(number, 6)}</h2>\n'
        f'<p style="margin:0 0 12px 0">{_prose(number * 3, 155)}.</p>\n'
        f'<a href="{_url(number)}" target="_blank" style="color:#2457a6;text-decoration:none">{_prose(number, 4)}</a>\n'
        "</td></tr>"
    )


def _url(number: int) -> str:
    ampersand = "&amp;" if number % 2 else "&"
    return f"https://www.example.com/stories/{number}?utm_source=newsletter{ampersand}id={number * 7919}"


def _prose(start: int, count: int) -> str:
    return " ".join(islice(cycle(_WORDS), start, start + count)).capitalize()
