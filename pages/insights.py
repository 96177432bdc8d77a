"""AI Insights: what the models forecast and why, what that was worth so far, and what they may therefore decide."""

import streamlit as st

from app import insights, insights_training, insights_view, widgets
from app.client import engine_client

client = engine_client()
status = widgets.page_head("AI Insights", client)
with widgets.known("Models"):
    overview = client.models()

insights_training.begin(client, overview)
if not overview["models"]:
    nothing = "" if overview["offer"] else f"{insights.NO_MODEL}. "  # the offer says so
    widgets.empty(f"{nothing}Decisions follow the strategy's rule alone, which needs no model.")
    st.stop()

view, symbol, at = insights_view.choices(overview)
widgets.figures(insights.headline(overview, at, status["now_ns"]))
st.caption(insights.why_share(overview))

if view == "Forecast":
    insights_view.forecast(client, overview, symbol, at)
elif view == "Why":
    insights_view.why(client, overview, symbol, at)
elif view == "Scoreboard":
    insights_view.scoreboard(overview, at)
elif view == "Calibration":
    insights_view.calibration(overview, at)
elif view == "Regimes":
    insights_view.regimes(client, overview, symbol)
elif view == "Agents":
    insights_view.agents(client, symbol)
elif view == "News":
    insights_view.news(client)
elif view == "Drift":
    insights_view.drift(overview)
else:
    insights_training.training(client, overview)
