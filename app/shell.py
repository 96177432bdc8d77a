"""What every page shares: navigation, and the sidebar with mode, engine, account and kill switch."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.sidebar import mode_switch, sidebar_status

ROOT = Path(__file__).resolve().parents[1]
ICON = str(Path(__file__).with_name("icon.svg"))
PAGES = {
    "desk": "Desk",
    "portfolio": "Portfolio",
    "backtest": "Backtest",
    "journal": "Journal",
    "settings": "Settings",
}

st.set_page_config(page_title="Astrolabe", page_icon=ICON, layout="wide", initial_sidebar_state=232)
page = st.navigation([
    st.Page(ROOT / "pages" / f"{name}.py", title=title, url_path=name, default=name == "desk")
    for name, title in PAGES.items()
    if (ROOT / "pages" / f"{name}.py").exists()
])  # fmt: skip
with st.sidebar:
    mode_switch()
    sidebar_status()
page.run()
