"""Codes of ours in plain words, for people. Pure."""

from __future__ import annotations

UNTRACKED = {
    "no_profile": "No entry of “senders” in the configuration matches this sender: the mail passed untouched.",
    "tracking_off": "Open and click tracking are switched off for this sender, or by this mail's own headers.",
    "null_reverse_path": "Mail with an empty envelope sender (bounces, automatic notices) is never touched.",
    "auto_submitted": "An automatic reply or notice (Auto-Submitted) is never touched.",
    "auto-submitted": "An automatic reply or notice (Auto-Submitted) is never touched.",
    "signed": "The mail is signed; any change would break its signature.",
    "multipart_signed": "The mail is signed (S/MIME or PGP); any change would break its signature.",
    "dkim_signed": "The sending app signed the mail with DKIM; any change would break the signature.",
    "signed_mail": "The sending app signed the mail with DKIM; any change would break the signature.",
    "encrypted": "The mail is encrypted; there is nothing in it that could be read.",
    "multipart_encrypted": "The mail is encrypted; there is nothing in it that could be read.",
    "pkcs7": "The mail is signed or encrypted with S/MIME; it is never touched.",
    "pkcs7_mime": "The mail is signed or encrypted with S/MIME; it is never touched.",
    "pgp_inline": "The text holds a PGP message or signature; it is never touched.",
    "inline_pgp": "The text holds a PGP message or signature; it is never touched.",
    "no_html": "The mail has no HTML part, so there is no place for a pixel or a tracked link.",
    "nothing_to_track": "The mail holds no link to track and no place for a pixel.",
    "charset_not_exact": "The HTML part's charset cannot be reproduced byte for byte, so it was left alone.",
    "encoding_not_exact": "The HTML part's transfer encoding cannot be reproduced byte for byte, so it was left alone.",
    "empty": "The HTML part is empty, so there is nothing to track.",
    "no_links": "The mail holds no web link, and open tracking is off.",
    "already_tracked": "Every link of this mail is a tracking link of ours already, so nothing was wrapped twice.",
    "click_tracking_off": "Click tracking is switched off for this sender, or by this mail's own headers.",
    "shared_copy": "One copy went to all recipients, so links that are one recipient's own were left alone.",
    "placeholder": "The links hold {{ … }} that nobody filled in, so they were left alone.",
    "visible_url": "The links' own text is a web address, and this sender wants such links left alone.",
    "url_too_long": "The links' tracked URLs would be too long for some mail programs, so they were left alone.",
    "line_too_long": "The links' lines would become longer than mail allows, so they were left alone.",
    "doubtful_end": "Where the addresses in the text end is not sure, so they were left alone.",
    "encoding_unknown": "The HTML part's transfer encoding is unknown, so it was left alone.",
    "too_many_links": "The mail has too many links to be worked on safely.",
    "too_deep": "The mail's parts are nested too deeply to be looked at safely.",
    "too_many_parts": "The mail has too many parts to be looked at safely.",
    "header_too_large": "The mail's headers are too large to be looked at safely.",
}
"""Why a mail was not tracked."""

LINK_TYPES = {"tracked": "tracked", "opt_out": "opt-out", "mirror": "web copy", "never": "never tracked"}
STATUSES = {
    "pending": "on its way",
    "sent": "delivered",
    "bounced": "bounced",
    "error": "given up",
    "suppressed": "suppressed",
}
SUPPRESSIONS = {"mail": "no mail", "tracking": "no tracking"}
EVENTS = {
    "accepted": "Accepted",
    "sent": "Taken by the smarthost",
    "deferred": "Deferred, will be tried again",
    "bounced": "Bounced",
    "error": "Given up",
    "suppressed": "Suppressed",
    "open": "Opened",
    "click": "Clicked",
    "opt_out_click": "Opt-out link clicked",
    "mirror_view": "Web copy viewed",
    "opt_out": "Opted out",
    "opt_in": "Took the opt-out back",
}


def why_untracked(reason: str | None) -> str:
    """The sentence for a reason code; unknown codes are shown as they are."""
    if not reason:
        return "Nothing in this mail was changed."
    if reason.startswith("error"):
        return f"Something went wrong while instrumenting ({reason}), so the original was forwarded."
    return UNTRACKED.get(reason, f"It was left untouched: {reason.replace('_', ' ')}.")
