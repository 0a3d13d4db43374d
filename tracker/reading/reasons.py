"""Why a mail or a link is not tracked: each reason code in a sentence, and what to do about it. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """A reason in plain words: why it is so, and what to do where one wants it otherwise."""

    why: str
    todo: str


_SIGNED_BY_APP = "Let Tracepost sign instead: “dkim” and “signed_mail: resign” in the sender's entry."
_BOUND = "Nothing needs doing for ordinary mail; look at what the app builds."
_EXACT = "Have the app send this part in UTF-8, as quoted-printable or base64."

MAILS = {
    "no_profile": Reason(
        "No entry of “senders” in the configuration matches this sender, so the mail passed untouched.",
        "Add an entry whose “match” fits the From address, then reload (SIGHUP).",
    ),
    "tracking_off": Reason(
        "Open and click tracking are switched off for this sender, or by this mail's own headers.",
        "Switch “open_tracking” or “click_tracking” on, or leave out the header that says no.",
    ),
    "null_reverse_path": Reason(
        "Mail with an empty envelope sender (bounces, automatic notices) is never touched.",
        "If this is a newsletter, have the app give an envelope sender.",
    ),
    "auto_submitted": Reason(
        "It says of itself that it is an automatic reply or notice (Auto-Submitted); such mail is never touched.",
        "Have the app leave out that header where people are meant to read and click.",
    ),
    "dkim_signed": Reason(
        "The sending app signed it with DKIM; any change would break the signature.",
        _SIGNED_BY_APP,
    ),
    "signed": Reason(
        "It is signed (S/MIME or PGP); any change would break the signature.",
        "Nothing: signed mail leaves as it came. Send it unsigned if it is to be tracked.",
    ),
    "encrypted": Reason("It is encrypted; there is nothing in it that could be read.", "Nothing can be done."),
    "pgp": Reason("Its text is a PGP message or has a PGP signature; such mail is never touched.", "Nothing."),
    "no_html": Reason(
        "It has no HTML part, so there is no place for a pixel or a tracked link.",
        "Send HTML beside the text, or switch “text_tracking” on to track links in plain text.",
    ),
    "empty": Reason("Its HTML part is empty, so there is nothing to track.", "Look at what the app sends."),
    "attachment": Reason(
        "Its HTML is an attachment; attachments are never touched.",
        "Have the app send the HTML as the body (no Content-Disposition: attachment).",
    ),
    "message": Reason("Its HTML is inside an attached mail, which is never touched.", "Nothing."),
    "no_links": Reason("It has no web link, and no pixel was asked for.", "Switch “open_tracking” on."),
    "too_many_links": Reason("It has too many links to be worked on safely.", "Send fewer links in a mail."),
    "too_many_parts": Reason("It has too many parts to be looked at safely.", _BOUND),
    "too_deep": Reason("Its parts are nested too deeply to be looked at safely.", _BOUND),
    "header_too_large": Reason("Its headers are too large to be looked at safely.", _BOUND),
    "charset_not_exact": Reason("Its charset cannot be reproduced octet for octet, so it was left alone.", _EXACT),
    "encoding_not_exact": Reason(
        "Its transfer encoding cannot be reproduced octet for octet, so it was left alone.", _EXACT
    ),
    "encoding_unknown": Reason("Its transfer encoding is unknown, so it was left alone.", _EXACT),
}
"""Why nothing in a mail was changed. Where every link of it has the same reason, it is one of ``LINKS``."""

LINKS = {
    "default": Reason("Nothing said otherwise.", "Save another type for it here, or mark it in the mail."),
    "saved": Reason("A type was saved for its URL.", "Change or remove the saved type under Links."),
    "placeholder": Reason(
        "It holds {{ … }} that nobody filled in, so it was left alone.",
        "Have the app fill in what is its own before it sends.",
    ),
    "scheme +notrack": Reason("Its scheme says so (https+notrack://).", "Write https:// to have it tracked."),
    "click_tracking_off": Reason(
        "Click tracking is off for this sender, or by this mail's own headers.",
        "Switch “click_tracking” on, or leave out the header that says no.",
    ),
    "already_tracked": Reason("It is a tracking link of ours already; nothing is wrapped twice.", "Nothing."),
    "shared_copy": Reason(
        "One copy went to all recipients, so a link that is one recipient's own was left alone.",
        "Send to one recipient at a time, or do without “auth.passthrough”.",
    ),
    "visible_url": Reason(
        "Its own text is a web address, and this sender wants such links left alone.",
        "Set “visible_urls: track”, or give the link a text.",
    ),
    "url_too_long": Reason(
        "Its tracked URL would have over 2,000 characters, which some mail programs cut.", "Use a shorter URL."
    ),
    "line_too_long": Reason(
        "Its line would become longer than the 998 octets that mail allows.",
        "Have the app send the part as quoted-printable or base64.",
    ),
    "doubtful_end": Reason(
        "Where the address ends in the text is not sure.", "Write it as <https://…> in the plain text."
    ),
    "charset_not_exact": Reason("It cannot be read exactly in the charset of its part.", _EXACT),
}
"""Why a link has its type, or was left alone. ``attribute …`` and ``rule …`` name what decided."""


def of_mail(code: str | None) -> Reason:
    """Why a mail is not tracked."""
    if not code:
        return Reason("Nothing in this mail was changed.", "")
    if code.startswith("error"):
        what = code.partition(":")[2].strip() or "unknown"
        return Reason(
            f"Something went wrong in Tracepost while the mail was rewritten ({what}), so the original was forwarded.",
            "Please report it; `tracepost preview` on the mail shows it again.",
        )
    return MAILS.get(code) or _left_alone(code)


_OURS = Reason("It is a placeholder of ours: it leads to the reader's own page.", "Write a URL in its place.")


def of_link(code: str, type: str | None = None) -> Reason:
    """Why a link has its type, or was left alone."""
    if code == "placeholder" and type in ("opt_out", "mirror"):
        return _OURS
    kind, _, what = code.partition(" ")
    if kind == "attribute":
        return Reason(f"The attribute {what} on the link says so.", "Change it in the mail: an attribute always wins.")
    if kind == "rule":
        return Reason(f"The sender's link rule {what} says so.", "Change “link_rules”, or save a type: that wins.")
    return LINKS.get(code) or Reason(f"{code.replace('_', ' ').capitalize()}.", "")


def _left_alone(code: str) -> Reason:
    found = LINKS.get(code)
    if found is None:
        return Reason(f"It was left untouched: {code.replace('_', ' ')}.", "")
    return Reason(f"None of its links could be tracked. The first: {found.why[0].lower()}{found.why[1:]}", found.todo)
