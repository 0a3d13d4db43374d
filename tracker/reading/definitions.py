"""What the dashboard's numbers mean, said where they are shown; docs/numbers.md says it in full. Pure."""

from __future__ import annotations

COUNTS = {
    "messages": "mails accepted, each one SMTP transaction",
    "recipients": "recipients of these messages",
    "sent": "copies that the smarthost took",
    "delivered": "accepted by the smarthost, less bounces that came later",
    "bounced": "refused for good, at once or later",
    "opens": "by people; a repeat within 10 seconds is not counted again",
    "unique_opens": "recipients who opened at least once",
    "clicks": "by people; not those on opt-out and web-copy links",
    "unique_clicks": "recipients who clicked at least once",
    "machine_opens": "prefetches, privacy proxies and bots",
    "machine_clicks": "link scanners and bots",
    "opt_out_clicks": "by people, on opt-out links; not each one is confirmed",
    "mirror_views": "by people, of web copies of the mail",
    "opt_outs": "recipients who confirmed that they want no more",
    "complaints": "recipients who called it spam",
    "errors": "given up without a refusal",
    "suppressed": "not sent, since the address is on the suppression list",
    "pending": "still on the way",
}

RATES = {
    "delivery": "of recipients tried",
    "bounce": "of recipients tried",
    "error": "of recipients tried",
    "open": "opens a copy with a pixel",
    "unique_open": "of copies with a pixel",
    "click": "clicks a copy with a tracked link",
    "unique_click": "of copies with a tracked link",
    "click_to_open": "of those who opened also clicked",
    "opt_out": "of delivered copies",
    "complaint": "of delivered copies",
}
"""What each rate is of: the mail accepted in the period, with all its hits so far. Tried are those that were not
suppressed; copies are delivered ones."""
