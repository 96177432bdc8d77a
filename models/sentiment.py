"""What headlines say of prices, by a list of words: plain, offline, and without weight until it has shown skill."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from engine.domain import F8, NS_PER_S
from engine.errors import DataError

LEXICON = Path(__file__).with_name("lexicon.txt")
MOST_ENTRIES = 500
MOST_LETTERS = 500
"""Of a title; the rest is cut off."""

NEGATIONS = frozenset(
    {"no", "not", "never", "without", "denies", "deny", "denied", "avoids", "avoid", "isn't", "won't"}
)
REACH = 2
"""A negation turns the sense of this many words after it."""

NAMES: dict[str, tuple[str, ...]] = {
    "BTC": ("bitcoin", "btc"), "ETH": ("ethereum", "ether", "eth"), "SOL": ("solana", "sol"),
    "BNB": ("bnb", "binance coin"), "XRP": ("xrp", "ripple"), "DOGE": ("dogecoin", "doge"), "ADA": ("cardano", "ada"),
    "LINK": ("chainlink",), "AVAX": ("avalanche", "avax"), "LTC": ("litecoin", "ltc"),
}  # fmt: skip
"""What coins are called; a coin that is not here is known by its ticker."""

FEWEST_JUDGED = 200
SURE_Z = 1.96


class Entry(NamedTuple):
    """One headline of a feed."""

    headline_id: str  # of the feed's own id, or of the title
    title: str
    ts_published: int | None  # ns; None where the feed does not say


class Score(NamedTuple):
    """What the words of a title add up to."""

    value: float  # in [-1, 1]; 0 where no word of the list occurs
    words: tuple[str, ...]  # those that counted, with their sign


class SentimentSkill(NamedTuple):
    """Whether scores went with the returns that followed."""

    correlation: float  # rank correlation of score and return; NaN for fewer than 3
    error: float
    n_judged: int

    @property
    def share(self) -> float:
        """What it earned of a decision: its correlation, shrunk by its error, rho (1 - (1.96 error / rho)^2), else 0.

        What a forecast can earn grows with its correlation (Grinold, 1989), so one that is surely there and small gets
        little. Costs are not in it.

        Examples
        --------
        >>> round(SentimentSkill(0.12, 0.04, 600).share, 4)
        0.0688
        >>> SentimentSkill(0.04, 0.04, 600).share
        0.0
        """
        z = self.correlation / self.error if self.error > 0.0 else 0.0
        known = self.n_judged >= FEWEST_JUDGED and z >= SURE_Z
        return self.correlation * (1.0 - (SURE_Z / z) ** 2) if known else 0.0


@lru_cache(maxsize=1)
def lexicon() -> tuple[dict[str, float], dict[str, float]]:
    """Return whole words and beginnings of words, each with what it says, -3 to 3."""
    words: dict[str, float] = {}
    beginnings: dict[str, float] = {}
    for line in LEXICON.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        value, word = line.split()
        (beginnings if word.endswith("*") else words)[word.rstrip("*")] = float(value)
    return words, beginnings


def score(title: str) -> Score:
    """Return what a title says of prices.

    Each word of the list adds its value, turned round up to two words after a negation; the sum s becomes
    s / sqrt(s^2 + 15), so that one strong word is not certainty.

    Examples
    --------
    >>> score("Bitcoin rallies after approval").value  # 2 + 2: 4 / sqrt(16 + 15)
    0.718
    >>> score("Exchange was not hacked").words
    ('+hacked',)
    >>> score("Weather in Paris").value
    0.0
    """
    words, beginnings = lexicon()
    total, found, turned = 0.0, [], 0
    for word in re.findall(r"[a-z']+", title.lower()):
        if word in NEGATIONS:
            turned = REACH
            continue
        value = words.get(word)
        if value is None:
            start = max((one for one in beginnings if word.startswith(one)), key=len, default=None)
            value = 0.0 if start is None else beginnings[start]
        if value:
            value = -value if turned else value
            total += value
            found.append(f"{'+' if value > 0 else '−'}{word}")
        turned = max(turned - 1, 0)
    return Score(round(total / float(np.sqrt(total * total + 15.0)), 3), tuple(found))


def about(title: str, symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the symbols a title is about; none means the market as a whole.

    Examples
    --------
    >>> about("Solana and Bitcoin climb", ("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    ('BTCUSDT', 'SOLUSDT')
    """
    text = title.lower()
    return tuple(
        symbol for symbol in symbols
        if any(re.search(rf"\b{re.escape(name)}\b", text) for name in _names(symbol))
    )  # fmt: skip


def _names(symbol: str) -> tuple[str, ...]:
    base = re.sub(r"(USDT|USDC|USD|PERP)$", "", symbol)
    return NAMES.get(base, (base.lower(),))


def entries(raw: bytes, feed: str) -> list[Entry]:
    """Return the headlines of an RSS or Atom document.

    Parameters
    ----------
    raw : bytes
    feed : str
        Its address, which becomes part of the ids.

    Raises
    ------
    DataError
        It is no such document, or it declares a document type or entities: these can make a small file grow without
        end or read other files, and no feed needs them.
    """
    head = raw.replace(b"\x00", b"").upper()  # wider encodings hide the words between zero bytes
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise DataError(f"{feed} declares a document type or entities, which no feed needs: it was not read")
    try:
        root = ElementTree.fromstring(raw)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{feed} is no RSS or Atom feed: {error}") from error
    found: dict[str, Entry] = {}
    for item in root.iter():
        if _plain(item.tag) not in ("item", "entry"):
            continue
        said = {_plain(child.tag): (child.text or "").strip() for child in item}
        title = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", said.get("title", ""))).strip()[:MOST_LETTERS]
        if not title:
            continue
        key = hashlib.sha256(f"{feed}\n{said.get('guid') or said.get('id') or title}".encode()).hexdigest()[:32]
        when = said.get("pubDate") or said.get("published") or said.get("updated") or said.get("date") or ""
        found.setdefault(key, Entry(key, title, moment_of(when)))
        if len(found) >= MOST_ENTRIES:
            break
    return list(found.values())


def moment_of(text: str) -> int | None:
    """Return a date of RSS (RFC 822) or Atom (ISO 8601) in ns UTC, None where it is neither.

    Examples
    --------
    >>> moment_of("Thu, 01 Jan 1970 00:00:02 GMT"), moment_of("1970-01-01T01:00:03+01:00"), moment_of("soon")
    (2000000000, 3000000000, None)
    """
    for read in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text.replace("Z", "+00:00") if read is dt.datetime.fromisoformat else text)
        except (ValueError, TypeError, IndexError):
            continue
        known = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
        return int(known.timestamp()) * NS_PER_S
    return None


def mood(scores: F8, age_s: F8, half_life_s: float = 6 * 3_600.0) -> float:
    """Return the mood in [-1, 1]: the mean of scores (K,), each counting half as much every six hours; NaN if none.

    Examples
    --------
    >>> round(mood(np.array([1.0, 0.0]), np.array([0.0, 21_600.0])), 4)  # weights 1 and 1/2
    0.6667
    """
    weight = np.exp2(-np.asarray(age_s) / half_life_s)
    return float((weight * scores).sum() / weight.sum()) if weight.sum() > 0.0 else float("nan")


def skill_of(scores: F8, returns: F8, days: np.ndarray) -> SentimentSkill:
    """Return whether scores (K,) went with the returns (K,) that followed, each on its day (K,).

    The rank correlation of both. Headlines of one day share an outcome, so its error is 1 / sqrt(number of days - 2)
    and not of headlines.
    """
    known = np.isfinite(scores) & np.isfinite(returns) & (scores != 0.0)
    n_days = len(np.unique(np.asarray(days)[known]))
    if known.sum() < 3 or n_days < 3:
        return SentimentSkill(float("nan"), float("nan"), int(known.sum()))
    first, second = (_ranks(values[known]) for values in (scores, returns))
    if first.std() == 0.0 or second.std() == 0.0:
        return SentimentSkill(float("nan"), float("nan"), int(known.sum()))
    return SentimentSkill(
        float(np.corrcoef(first, second)[0, 1]), 1.0 / float(np.sqrt(max(n_days - 2, 1))), int(known.sum())
    )


def why(skill: SentimentSkill) -> str:
    """Say what headlines count, and why."""
    if not np.isfinite(skill.correlation):
        return (
            f"Headlines count nothing: {skill.n_judged} of at least {FEWEST_JUDGED} have been judged by the day that "
            "followed."
        )
    said = f"rank correlation with the next day's return {skill.correlation:+.3f} ± {1.96 * skill.error:.3f}, of "
    said = said.replace("-", "−") + f"{skill.n_judged} headlines"
    if skill.share > 0.0:
        return f"Headlines count, beyond doubt so far: {said}."
    short = f", and {FEWEST_JUDGED} are needed" if skill.n_judged < FEWEST_JUDGED else ""
    return f"Headlines count nothing: {said}{short}. That is not told apart from chance."


def _ranks(values: F8) -> F8:
    """Return ranks, equal values sharing theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(np.cumsum(count)[place] - 0.5 * (count[place] - 1), dtype=np.float64)


def _plain(tag: Any) -> str:
    return str(tag).rsplit("}", 1)[-1]
