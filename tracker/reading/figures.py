"""Numbers and times as people read them. Pure."""

from __future__ import annotations

from datetime import date, datetime, tzinfo

THIN = "\N{NARROW NO-BREAK SPACE}"
NONE = "\N{EN DASH}"


def number(value: float | None) -> str:
    """A whole number in groups of three, a dash where it is not known."""
    return NONE if value is None else f"{value:,.0f}".replace(",", THIN)


def percent(rate: float | None) -> str:
    """A rate (1 is all) in percent; a dash where there is nothing that it could be a rate of. What is not quite
    nothing, or not quite all, does not look so."""
    if rate is None:
        return NONE
    value = rate * 100
    if 0 < value < 0.1:
        return "<0.1%"
    if 99.9 < value < 100:
        return ">99.9%"
    return f"{value:.0f}%" if value in (0, 100) else f"{value:.1f}%"


def when(seconds: float, zone: tzinfo, now: float) -> dict[str, str]:
    """A time as people read it, and as machines do. All in seconds since the epoch."""
    moment = datetime.fromtimestamp(seconds, zone)
    same_year = moment.year == datetime.fromtimestamp(now, zone).year
    text = f"{moment.day} {moment:%b}" + ("" if same_year else f" {moment.year}") + f", {moment:%H:%M}"
    return {"text": text, "full": f"{moment:%Y-%m-%d %H:%M:%S %Z}", "iso": moment.isoformat(timespec="seconds")}


def octets(size: float) -> str:
    """A size in the unit that suits it, 1,000 octets a kilobyte."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f}{THIN}{unit}" if unit == "B" or size >= 100 else f"{size:,.1f}{THIN}{unit}"


def span(seconds: float) -> str:
    """How long, in one or two units."""
    seconds = max(0, round(seconds))
    for name, unit, finer, below in (("d", 86400, 3600, "h"), ("h", 3600, 60, "min"), ("min", 60, 1, "s")):
        if seconds >= unit:
            rest = seconds % unit // finer
            return f"{seconds // unit}{THIN}{name}" + (f" {rest}{THIN}{below}" if rest and seconds < 10 * unit else "")
    return f"{seconds}{THIN}s"


def day(value: date) -> str:
    """A date as people read it."""
    return f"{value.day} {value:%b} {value.year}"
