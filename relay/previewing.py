"""The dry run: what would be done with a mail, as text or as data."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

from relay.config import Config, route_to
from relay.instrumenting import Plan, Reader, plan
from relay.keys import read_signing_key
from relay.reception.headers import Headers
from relay.reception.senders import SPEAKING_HEADERS, first_address, profile_for
from relay.reception.vendors import vendor_of
from relay.rewriting import message
from relay.storage import STORE_FILE
from tracker.model import Link, new_id
from tracker.store.link_types import in_file
from tracker.tokens import KEY_BYTES, Keyring, parse_key


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done with a mail; ``copy`` is what ``recipient`` would get, less the trace headers."""

    plan: Plan
    recipient: str
    copy: bytes

    def as_dict(self) -> dict[str, Any]:
        """The preview as plain data."""
        profile = self.plan.profile
        return {
            "sender": profile.sender,
            "recipient": self.recipient,
            "subject": profile.subject,
            "tag": profile.tag,
            "mailing": profile.mailing,
            "metadata": dict(profile.metadata),
            "category": self.plan.category,
            "instrumented": self.plan.instrumented,
            "reason": self.plan.reason,
            "pixel": self.plan.scan is not None and self.plan.scan.pixels,
            "list_unsubscribe": self.plan.unsubscribe,
            "links": [_link(link) for link in self.plan.links],
            "skipped": list(self.plan.notes),
        }

    def as_text(self) -> str:
        """The preview as a person reads it."""
        found = self.as_dict()
        lines = [
            f"From {found['sender'] or '<>'} to {self.recipient or '(nobody)'}: {found['subject'] or '(no subject)'}",
            "Tracked: yes" if found["instrumented"] else f"Tracked: no ({found['reason']})",
            f"Open pixel: {'yes' if found['pixel'] else 'no'}",
            *(["List-Unsubscribe: added"] if self.plan.unsubscribe else []),
            f"Category: {found['category']}",
            *(f"{name.capitalize()}: {found[name]}" for name in ("tag", "mailing") if found[name]),
            f"Links: {len(found['links'])}",
        ]
        for link in self.plan.links:
            lines.append(f"  {link.position:3}  {link.type:8} {link.url}")
            lines.append(f"       {link.label or '(no text)'} [{link.reason}]")
        lines += [f"Skipped: {note}" for note in found["skipped"]]
        return "\n".join(lines)


def preview(config: Config, content: bytes, sender: str | None, recipient: str | None) -> Preview:
    """Dry run of one mail. Line ends may be bare LF, as in files; the relay would have got CRLF."""
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    keyring = _keyring(config)
    reverse_path = first_address(message.get(content, "From") or "") if sender is None else sender
    to = recipient or first_address(message.get(content, "To") or "")
    headers = Headers(message.select(content, SPEAKING_HEADERS))
    url, key = config.tracker.public_url, keyring.ids[0]
    profile = profile_for(config.senders, reverse_path, None, headers, url, key, [to])
    vendor = vendor_of(route_to(config, profile.route).host)
    saved = in_file(config.data_dir / STORE_FILE, profile.sender)
    profile = replace(profile, keeps=vendor.name if vendor is not None else None, saved=saved)
    found = plan(content, profile, keyring)
    return Preview(found, to, found.copy_for(Reader(1, to), new_id(), keyring))


def _keyring(config: Config) -> Keyring:
    """The keys that would sign; a throw-away one where none was made yet, since a dry run writes nothing."""
    keys = [parse_key(key.get_secret_value()) for key in config.signing_keys]
    if not keys:
        keys = [read_signing_key(config.data_dir) or secrets.token_bytes(KEY_BYTES)]
    return Keyring(keys)


def _link(link: Link) -> dict[str, Any]:
    return {
        "position": link.position,
        "url": link.url,
        "label": link.label,
        "type": link.type.value,
        "reason": link.reason,
        "tracked": link.tracked,
    }
