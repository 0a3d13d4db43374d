"""The tokenizer against html5lib's vectors: full tokens are built from our spans and compared with the standard's."""

from __future__ import annotations

import json
import re

import pytest

from relay.rewriting import html

STATES = {"Data state": "", "RCDATA state": "textarea", "RAWTEXT state": "style", "Script data state": "script",
          "PLAINTEXT state": "plaintext", "CDATA section state": "cdata"}  # fmt: skip
REFERENCES_IN_TEXT = {"Data state", "RCDATA state"}


def tokens(text, state, last):
    """html5lib's token list for a text, without doctype details."""
    out, pos = [], 0
    if state == "CDATA section state":
        end = text.find("]]>")
        if text:
            out.append(["Character", text if end < 0 else text[:end]])
        return joined(out + (tokens(text[end + 3 :], "Data state", "") if end >= 0 else []))
    if state != "Data state":
        name = last or STATES[state]
        family = STATES[state]
        if family == "script":
            end = html.raw_end(text, "script", 0, len(text)) if name == "script" else end_of(text, name)
        elif family == "plaintext":
            end = None
        else:
            end = end_of(text, name)
        raw = text if end is None else text[:end]
        raw = raw.replace("\0", "\ufffd")
        out.append(["Character", html.unescape(raw, attribute=False) if state in REFERENCES_IN_TEXT else raw])
        if end is None:
            return joined(out)
        pos = end
    for token in html.walk(text, pos):
        out += full(text, token)
    return joined(out)


def end_of(text, name):
    found = re.search(rf"</{re.escape(name)}(?=[\t\n\f\r />])", text, re.I)
    return found.start() if found else None


def full(text, token):
    piece = text[token.start : token.end]
    if token.kind == html.TEXT:
        return [["Character", html.unescape(piece, attribute=False)]]
    if token.kind == html.RAW:
        return [["Character", piece]]
    if token.kind == html.START:
        attributes = {}
        for each in html.attributes(text, token):
            value = html.unescape(text[each.value_start : each.value_end], attribute=True).replace("\0", "\ufffd")
            attributes.setdefault(lower(each.name), value)
        closing = [True] if self_closing(text, token) else []
        return [["StartTag", lower(token.name), attributes, *closing]]
    if token.kind == html.END:
        return [["EndTag", lower(token.name)]]
    if token.kind == html.COMMENT:
        inner = re.sub(r"--!?>\Z", "", piece[4:]) if len(piece) > 6 else ""
        return [["Comment", (inner if piece not in ("<!-->", "<!--->") else "").replace("\0", "\ufffd")]]
    if token.kind == html.BOGUS or token.name == "!":
        return bogus(piece, token)
    if token.name == "!--":
        inner = re.sub(r"--?!?\Z", lambda m: "" if m[0] != "-!" else m[0], piece[4:])
        return [["Comment", inner.replace("\0", "\ufffd")]]
    return []  # an unfinished tag, or a raw text element whose text came already


def bogus(piece, token):
    inner = piece[:-1] if token.kind == html.BOGUS else piece
    if piece == "</>":
        return []
    if inner[:9].upper() == "<!DOCTYPE":
        return [["DOCTYPE"]]
    inner = inner[1:] if inner.startswith("<?") else inner[2:]
    return [["Comment", inner.replace("\0", "\ufffd")]]


def self_closing(text, token):
    found = html.attributes(text, token)
    rest = text[found[-1].end if found else token.start + 1 + len(token.name) : token.end]
    return rest.endswith("/>")


def lower(name):
    return name.replace("\0", "\ufffd")


def joined(out):
    result = []
    for token in out:
        if token[0] == "Character" and result and result[-1][0] == "Character":
            result[-1] = ["Character", result[-1][1] + token[1]]
        elif token[0] != "Character" or token[1]:
            result.append(token)
    return result


def expected(case):
    out = []
    for token in case["output"]:
        if token[0] == "DOCTYPE":
            out.append(["DOCTYPE"])
        else:
            out.append([token[0], *token[1:]])
    return joined(out)


def unescaped(value):
    if isinstance(value, str):
        return re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), value)
    if isinstance(value, list):
        return [unescaped(each) for each in value]
    if isinstance(value, dict):
        return {unescaped(name): unescaped(each) for name, each in value.items()}
    return value


def ascii_lower(token):
    """Our names are lowered by Python, which knows more letters than ASCII; tag and attribute names that matter are
    ASCII."""
    return json.loads(json.dumps(token), object_hook=lambda o: {k.lower(): v for k, v in o.items()})


NAMES = ["contentModelFlags", "domjs", "entities", "escapeFlag", "namedEntities", "numericEntities",
         "pendingSpecChanges", "test1", "test2", "test3", "test4", "unicodeChars",
         "unicodeCharsProblematic"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_vectors(corpus, name):
    path = corpus / f"vectors/html5lib__html5lib-tests/tokenizer/{name}.test"
    cases = json.loads(path.read_text())["tests"]
    failed, run = [], 0
    for case in cases:
        text, output = case["input"], case["output"]
        if case.get("doubleEscaped"):
            text, output = unescaped(text), unescaped(output)
        for state in case.get("initialStates", ["Data state"]):
            run += 1
            ours = tokens(text.replace("\r\n", "\n").replace("\r", "\n"), state, case.get("lastStartTag", ""))
            theirs = expected({"output": output})
            normal = [ascii_lower([*t[:1], t[1].lower(), *t[2:]] if "Tag" in t[0] else t) for t in theirs]
            mine = [ascii_lower([*t[:1], t[1].lower(), *t[2:]] if "Tag" in t[0] else t) for t in ours]
            if mine != normal:
                failed.append((state, text, normal, mine))
    assert run > 0
    assert not failed, f"{len(failed)} of {run}: {failed[:6]}"
