"""The parts of the AI Insights page: what is chosen, the forecast, its reasons, the evidence, regimes and agents."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import insights, insights_charts, insights_news, insights_shares, reasons_view, widgets
from app.client import CommandRefused, EngineClient

VIEWS = ("Forecast", "Why", "Scoreboard", "Calibration", "Regimes", "Agents", "Drift", "News", "Training")
FAN_BARS = 72
REFRESH_S = 15


def choices(overview: dict[str, Any]) -> tuple[str, str, int]:
    """Let a person choose what to look at, which symbol and how far ahead; the link keeps the view and the symbol."""
    view_at, symbol_at, horizon_at = st.columns([6, 2, 2], vertical_alignment="bottom")
    asked = st.query_params.get("view", VIEWS[0])
    view = view_at.segmented_control(
        "View", VIEWS, default=asked if asked in VIEWS else VIEWS[0], key="insights.view", required=True,
        label_visibility="collapsed",
    ) or VIEWS[0]  # fmt: skip
    st.query_params["view"] = view
    symbols, wanted = overview["symbols"], st.query_params.get("symbol")
    symbol = symbol_at.selectbox("Symbol", symbols, index=symbols.index(wanted) if wanted in symbols else 0,
                                 key="insights.symbol")  # fmt: skip
    names = insights.horizon_names(overview)
    horizon = horizon_at.selectbox("Hours ahead", list(names), index=len(names) - 1, format_func=names.get,
                                   key="insights.horizon", help="How far the forecast looks")  # fmt: skip
    return view, symbol, overview["horizons"].index(horizon)


def refused(ask: Any) -> Any:
    """Return the engine's answer; None after showing the sentence with which it refused."""
    try:
        return ask()
    except CommandRefused as error:
        widgets.empty(str(error))
        return None


@st.fragment(run_every=REFRESH_S)
def forecast(client: EngineClient, overview: dict[str, Any], symbol: str, at: int) -> None:
    """The newest candles with the fan of the forecast, what each model says, and how far they disagree."""
    with widgets.known("Forecast"):
        said = refused(lambda: client.model_forecast(symbol))
        bars = candles(client, overview, symbol, FAN_BARS)
    if said is None:
        return
    if not bars.empty:
        widgets.figure(insights_charts.fan_figure(bars, said, overview), key="insights.fan")
    st.caption(insights.fan_caption(overview, said, at, bars.empty))
    st.subheader(f"What each model says of {symbol}")
    widgets.table(insights.member_rows(overview, said, at), insights.MEMBER_COLUMNS, key="insights.members")
    st.caption(insights.disagreement(said, at))


def candles(client: EngineClient, overview: dict[str, Any], symbol: str, count: int) -> pd.DataFrame:
    """Return the newest candles of the length that the models look at."""
    return client.bars(symbol, insights.interval_name(overview["bar_s"]), limit=count)


def why(client: EngineClient, overview: dict[str, Any], symbol: str, at: int) -> None:
    """The summary in words, what drove one model's forecast, where it looked, and what came after similar bars."""
    names = [insights.ALL_TOGETHER, *insights.explainable(overview)]
    model = st.selectbox("Model", names, key="insights.model", help="All together as kept with decisions, or one anew")
    if model == insights.ALL_TOGETHER:
        reasons_view.show(client, overview, symbol)
        st.caption("Kept for each decision: the Journal opens any past one. Choose a single model above to ask it anew "
                   "at the chosen number of hours.")  # fmt: skip
        return
    with widgets.known("Why"), st.spinner("Asking the models"):
        answer = refused(lambda: client.explain_forecast(symbol, model, overview["horizons"][at]))
        said = refused(lambda: client.model_forecast(symbol)) if answer is not None else None
    if answer is None or said is None:
        return
    st.markdown("\n".join(f"- {sentence}" for sentence in answer["summary"]))
    drove_at, came_at = st.columns(2, gap="medium")
    with drove_at:
        st.subheader(f"What moved {model}")
        widgets.figure(insights_charts.drivers_figure(answer["drivers"]), key="insights.drivers")
        st.caption(insights.drivers_caption(answer))
    with came_at:
        st.subheader("What came after similar bars")
        if answer["cases"]:
            widgets.figure(insights_charts.cases_figure(answer, said["sigma"], overview["bar_s"]), key="insights.cases")
        st.caption(insights.case_sentence(answer, overview["horizons"][at]))
    if answer["attention"]:
        st.subheader("Where it looked")
        widgets.figure(insights_charts.attention_figure(answer["attention"], overview["bar_s"]),
                       key="insights.attention")  # fmt: skip
        st.caption("The dotted line is an even look at all bars. Where a network looks is no proof of why it answers.")


def scoreboard(overview: dict[str, Any], at: int) -> None:
    """Every model with its evidence and weight, those without skill and those that failed too."""
    widgets.table(insights.model_rows(overview, at), insights.MODEL_COLUMNS, key="insights.models")
    st.caption(
        "Everything out of sample; in brackets the 95 % interval. One that includes a coin's 50 %, or zero, shows no "
        f"skill. {insights.bar_to_clear(overview)}"
    )
    st.subheader("What models count in a decision")
    st.caption(
        "A forecast can be right about how far prices move without knowing which way. So the share of a "
        "decision follows what positions earned after costs beside the trend rule. The weights below make the forecast."
    )
    widgets.table(insights_shares.share_rows(overview), insights_shares.SHARE_COLUMNS, key="insights.shares")
    st.markdown("\n".join(f"- {line}" for line in insights_shares.share_lines(overview)))
    st.subheader("Why these weights in the forecast")
    st.markdown("\n".join(f"- {line}" for line in insights.weight_lines(overview, at)))


def calibration(overview: dict[str, Any], at: int) -> None:
    """Whether stated probabilities and intervals hold."""
    stated_at, held_at = st.columns(2, gap="medium")
    with stated_at:
        st.subheader("Are stated probabilities right?")
        bins = overview["reliability"][at] if overview["reliability"] else []
        if bins:
            widgets.figure(insights_charts.reliability_figure(bins), key="insights.reliability")
            st.caption("On the dotted line a stated 55 % came 55 times in 100. Bars are 95 % intervals over days, as "
                       "outcomes of a day go together; a model that knows nothing has all its points near the middle. "
                       f"The newest {overview['record_days']} days.")  # fmt: skip
        else:
            widgets.empty("No forecast with a known outcome yet at this horizon.")
    with held_at:
        st.subheader("Do intervals hold what they promise?")
        if overview["coverage"]["points"]:
            widgets.figure(insights_charts.coverage_figure(overview["coverage"]), key="insights.coverage")
            st.caption("Share of outcomes inside each interval over two weeks, all horizons; shaded: its 95 % interval "
                       "over days; dotted: what was stated. Too low means that the intervals are too narrow; they "
                       "widen by themselves after misses.")  # fmt: skip
        else:
            widgets.empty("No interval has been judged yet; the first one is once its horizon has passed.")
    _judged(overview, at)


def _judged(overview: dict[str, Any], at: int) -> None:
    """How intervals held on the bars that judged the training: there from the first day."""
    rows = insights.judged_rows(overview, at)
    if not rows.empty:
        st.subheader("When they were trained")
        widgets.table(rows, insights.JUDGED_COLUMNS, key="insights.judged")
        st.caption("Of the ensemble in force at the chosen number of hours, on the newest fifth of the bars, which "
                   "nobody had learned from.")  # fmt: skip


def regimes(client: EngineClient, overview: dict[str, Any], symbol: str) -> None:
    """The price coloured by the likeliest regime, and every regime's probability."""
    with widgets.known("Regimes"):
        said = refused(lambda: client.model_forecast(symbol))
        bars = candles(client, overview, symbol, insights_charts.REGIME_BARS)
    if said is None:
        return
    if not said["regimes"] or bars.empty:
        widgets.empty("No regime model has been trained yet.")
        return
    widgets.figure(insights_charts.regime_figure(bars, said["regimes"]), key="insights.regimes")
    st.caption(insights.regime_sentence(said["regimes"]))


def agents(client: EngineClient, symbol: str) -> None:
    """What each trading agent wishes, and how sure it is of it."""
    with widgets.known("Agents"):
        said = refused(lambda: client.model_forecast(symbol))
    if said is None:
        return
    if not said["agents"]:
        widgets.empty("No trading agent has been trained yet.")
        return
    widgets.figure(insights_charts.votes_figure(said["agents"]), key="insights.votes")
    widgets.table(insights.agent_rows(said), insights.AGENT_COLUMNS, key="insights.agents")
    st.caption("Bars show where nine of ten of an agent's own actions lie: a wide one is an agent without a view. "
               "Agents wish, and the risk gate decides; one without evidence has no weight.")  # fmt: skip


def news(client: EngineClient) -> None:
    """The headlines of the feeds in the settings, what their words say, and that this is no proof of anything."""
    with widgets.known("News"):
        said = client.news()
    if not said["feeds"]:
        widgets.empty("No feed of headlines is set, so none is read. Settings, News, takes addresses of RSS or Atom "
                      "feeds; the engine asks no other address.")  # fmt: skip
        return
    for feed in said["feeds"]:
        if feed["problem"]:
            st.warning(feed["problem"], icon=":material/rss_feed:")
    st.info(said["why"], icon=":material/balance:")
    mood_at, lines_at = st.columns([1, 3], gap="medium")
    with mood_at:
        st.subheader("Mood now")
        widgets.table(insights_news.mood_rows(said), insights_news.MOOD_COLUMNS, key="insights.moods")
        st.caption("The mean of the scores, each counting half as much every six hours. Zero is neutral.")
    with lines_at:
        st.subheader("Newest headlines")
        rows = insights_news.headline_rows(said)
        if rows.empty:
            widgets.empty("No headline has been read yet.")
            return
        widgets.table(rows, insights_news.HEADLINE_COLUMNS, key="insights.headlines", max_rows=14)
        st.caption("A list of words gives the score, −1 to 1: it knows no irony and no context, so read the headline.")


def drift(overview: dict[str, Any]) -> None:
    """How far the inputs have moved from those that the models were trained on."""
    rows = insights.drift_rows(overview)
    if rows.empty:
        widgets.empty("The inputs have not been compared with those of the training yet.")
        return
    st.markdown(insights.drift_sentence(overview))
    widgets.table(rows, insights.DRIFT_COLUMNS, key="insights.drift", max_rows=18)
    st.caption(f"{overview['drift_words']} Shifted: more than usual; unlike: more than in any equally long stretch of "
               "the training, so what models say is worth less.")  # fmt: skip
