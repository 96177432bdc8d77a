"""Headlines: read safely, scored by a list of words, and without weight until scores go with returns."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import DataError
from models.sentiment import MOST_ENTRIES, entries, lexicon, score, skill_of, why

RSS = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>A feed</title>
<item><title>Bitcoin &amp; Ether surge &lt;b&gt;again&lt;/b&gt;</title><guid>1</guid>
<pubDate>Thu, 01 Jan 1970 00:00:02 GMT</pubDate></item>
<item><title>Bitcoin &amp; Ether surge again</title><guid>1</guid></item>
<item><title></title><guid>2</guid></item></channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>A feed</title>
<entry><title>Exchange hacked</title><id>x</id><updated>1970-01-01T00:00:05Z</updated></entry></feed>"""


def test_both_kinds_of_feed_are_read_and_an_entry_is_taken_once():
    (one,) = entries(RSS, "here")
    assert (one.title, one.ts_published) == ("Bitcoin & Ether surge again", 2_000_000_000)
    (other,) = entries(ATOM, "here")
    assert (other.title, other.ts_published) == ("Exchange hacked", 5_000_000_000)
    assert entries(ATOM, "there")[0].headline_id != other.headline_id
    many = b"<rss>" + b"".join(b"<item><title>t%d</title></item>" % k for k in range(2 * MOST_ENTRIES)) + b"</rss>"
    assert len(entries(many, "here")) == MOST_ENTRIES


@pytest.mark.parametrize(("raw", "sentence"), [
    (b'<!DOCTYPE r [<!ENTITY a "aaaa">]><rss><item><title>&a;</title></item></rss>', "which no feed needs"),
    ('<?xml version="1.0" encoding="utf-16"?><!doctype r SYSTEM "file:///etc/passwd"><r/>'.encode("utf-16"), "no feed"),
    (b"<html><body>not found", "is no RSS or Atom feed"),
    (b"", "is no RSS or Atom feed"),
    (b'<?xml version="1.0" encoding="nonsense"?><rss/>', "is no RSS or Atom feed"),
])  # fmt: skip
def test_what_is_no_safe_feed_is_refused(raw, sentence):
    with pytest.raises(DataError, match=sentence):
        entries(raw, "here")


def test_words_of_the_list_count_in_their_forms_and_turned_round_by_a_negation():
    words, beginnings = lexicon()
    assert all(-3 <= value <= 3 and value for value in (*words.values(), *beginnings.values()))
    # hack* -3: -3 / sqrt(9 + 15)
    assert score("Exchange hacked").value == pytest.approx(-0.612, abs=1e-3)
    assert score("Exchange never hacked").value == pytest.approx(0.612, abs=1e-3)
    assert score("Not one user lost money; bank collapsed").value < 0.0  # too far from the negation
    assert score("").value == 0.0


def test_skill_is_by_days_and_none_is_no_share():
    rng = np.random.default_rng(4)
    days, n_each = np.repeat(np.arange(150), 4), 600
    scores = rng.choice([-0.6, 0.3, 0.6], n_each)
    chance = skill_of(scores, rng.standard_normal(n_each), days)
    assert chance.share == 0.0
    assert "not told apart from chance" in why(chance)
    found = skill_of(scores, scores + 0.5 * rng.standard_normal(n_each), days)
    assert found.error == pytest.approx(1.0 / np.sqrt(148))  # of days, not of headlines
    shrunk = found.correlation * (1.0 - (1.96 * found.error / found.correlation) ** 2)
    assert found.share == pytest.approx(shrunk, rel=0.01)
    assert 0.5 < found.share < found.correlation
    assert "beyond doubt" in why(found)
    few = skill_of(scores[:100], scores[:100], days[:100])
    assert (few.correlation, few.share) == (pytest.approx(1.0), 0.0)
    assert "200 are needed" in why(few)
    assert "0 of at least 200" in why(skill_of(np.zeros(0), np.zeros(0), np.zeros(0)))
