"""Health: is everything connected, do the books agree, does the kill switch work, and what went wrong."""

import streamlit as st

from app import evidence_view, health_view, widgets
from app.client import engine_client

client = engine_client()
widgets.page_head("Health", client)

health_view.connection(client)
health_view.books(client)

st.subheader("Kill-switch drills")
health_view.drills(client)

st.subheader("Capital ladder")
health_view.capital(client)

st.subheader("Parity certificate")
evidence_view.certificate(client)

st.subheader("Drift")
evidence_view.drift(client)

st.subheader("Incidents")
health_view.incidents(client)

st.subheader("Self-checks")
health_view.self_checks(client)
