"""The AI Insights page's work on models: offer of a training, its progress, champions and challengers."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import challenges, health_view, insights, insights_charts, widgets
from app.client import EngineClient, new_key

POLL_S = 2
NOTICE = "insights.notice"


def begin(client: EngineClient, overview: dict[str, Any]) -> None:
    """Show the training that goes on, or offer one that makes sense now; nothing while neither is the case."""
    run = overview["training"]
    if run is not None and run["status"] not in insights.ENDED:
        progress(client)
    elif overview["offer"] is not None:
        said, button = st.columns([5, 1], vertical_alignment="center")
        said.info(insights.offer_sentence(overview["offer"]), icon=":material/model_training:")
        button.button("Train", type="primary", key="insights.train", icon=":material/play_arrow:", width="stretch",
                      on_click=_train, args=(client,))  # fmt: skip
        if run is not None:
            st.caption(f"Last training: {insights.training_line(run)}")
    health_view.notice(NOTICE)


@st.fragment(run_every=POLL_S)
def progress(client: EngineClient) -> None:
    """How far the training is, with its curves and a button to cancel it; draws the page anew at its end."""
    with widgets.known("Training"):
        run = client.training()
    if run is None or run["status"] in insights.ENDED:
        st.rerun()
    bar_at, button_at = st.columns([6, 1], vertical_alignment="bottom")
    bar_at.progress(float(run["progress"] or 0.0), text=f"{insights.training_line(run)} · asked every {POLL_S} s")
    button_at.button("Cancel", key=f"insights.cancel.{run['run_id']}", on_click=_cancel, args=(client, run["run_id"]),
                     width="stretch", help="The models in force stay as they are")  # fmt: skip
    _curves(run, "insights.live_curves")


def _curves(run: dict[str, Any], key: str) -> None:
    """Draw the losses of what is taught in rounds; what is solved at once has no curve."""
    taught = insights_charts.in_rounds(run["curves"])
    if taught:
        widgets.figure(insights_charts.curves_figure(taught), key=key)
        st.caption("Dotted: on the bars it learns from. Solid: on bars held back, which decide when it stops. Each is "
                   "taught twice: first to be judged, then anew with the newer bars, where the line begins again. A "
                   "solid line that does not fall has found nothing that holds.")  # fmt: skip


def training(client: EngineClient, overview: dict[str, Any]) -> None:
    """The last training's curves, challengers with their evidence, promotion and rollback."""
    run = overview["training"]
    st.subheader("In force and challenging")
    rows = challenges.challenge_rows(overview)
    if rows.empty:
        widgets.empty("No challenger yet. A retrained model runs in shadow first and replaces the one in force only on "
                      "evidence.")  # fmt: skip
    else:
        widgets.table(rows, challenges.CHALLENGE_COLUMNS, key="insights.challenges")
        for challenge in overview["challenges"]:
            if len(challenge.get("path") or []) > 1:  # one point is no line
                widgets.figure(insights_charts.evidence_figure(challenge), key="insights.evidence")
            st.markdown("\n".join(f"- {line}" for line in challenges.challenge_lines(challenge)))
    _overrule(client, overview)
    if overview.get("retraining"):
        st.subheader("When models are trained again")
        st.markdown("\n".join(f"- {line}" for line in overview["retraining"]))
    changes = challenges.change_rows(overview)
    if not changes.empty:
        st.subheader("What was changed, and why")
        widgets.table(changes, challenges.CHANGE_COLUMNS, key="insights.changes")
    if run is not None and run["status"] in insights.ENDED:
        st.subheader("Last training")
        st.caption(insights.training_line(run))
        _curves(run, "insights.curves")


def _overrule(client: EngineClient, overview: dict[str, Any]) -> None:
    promote_at, back_at, retire_at, _ = st.columns([1, 1, 1, 2])
    challengers = [row["challenger"] for row in overview["challenges"]]
    with promote_at.popover("Promote …", icon=":material/upgrade:", width="stretch", disabled=not challengers):
        st.markdown("Puts a challenger into force before its evidence suffices. Who, when and why go into the audit "
                    "record; Roll back, with a reason, takes it back.")  # fmt: skip
        version = st.selectbox("Challenger", challengers, key="insights.challenger")
        st.text_input("Reason, at least 20 characters", key="insights.promote_reason")
        st.button("Promote it", type="primary", key="insights.promote", on_click=_promote, args=(client, version))
    with back_at.popover("Roll back …", icon=":material/undo:", width="stretch"):
        st.markdown("Puts the models before these ones back into force, from the next decision on.")
        st.text_input("Reason, at least 20 characters", key="insights.rollback_reason")
        st.button("Roll back", type="primary", key="insights.rollback", on_click=_roll_back, args=(client,))

    with retire_at.popover("Retire …", icon=":material/block:", width="stretch"):
        st.markdown("Uses a set, or one kind of model in whatever set, no more. Nothing is deleted; "
                    "`python -m engine models retire NAME --undo` allows it again.")  # fmt: skip
        st.selectbox("What", insights.retirable(overview), key="insights.retired")
        st.text_input("Reason, at least 20 characters", key="insights.retire_reason")
        st.button("Retire it", type="primary", key="insights.retire", on_click=_retire, args=(client,))


# Keys are made by clicks, in their callbacks: a rerun does not come through here.
def _train(client: EngineClient) -> None:
    health_view.tell(NOTICE, lambda: client.start_training(new_key()), "The training has begun.")


def _cancel(client: EngineClient, run_id: str) -> None:
    health_view.tell(NOTICE, lambda: client.cancel_training(run_id, new_key()), "The training was cancelled.")


def _promote(client: EngineClient, version: str) -> None:
    reason = st.session_state["insights.promote_reason"]
    health_view.tell(NOTICE, lambda: client.promote_model(version, reason, new_key()), f"{version} is in force.")


def _retire(client: EngineClient) -> None:
    name, reason = st.session_state["insights.retired"], st.session_state["insights.retire_reason"]
    health_view.tell(NOTICE, lambda: client.retire_model(name, reason, new_key()), f"{name} is retired.")


def _roll_back(client: EngineClient) -> None:
    reason = st.session_state["insights.rollback_reason"]
    health_view.tell(NOTICE, lambda: client.roll_models_back(reason, new_key()), "The models before are in force.")
