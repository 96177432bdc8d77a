"""The form of the settings. It holds what was typed, nothing more.

Commands leave from callbacks, which run once a click: drawing a page again can never send one. Everything a person
typed stays in the form when the engine refuses it.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import streamlit as st

from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key
from app.loosening import change_lines, loosened
from app.settings_form import Field, changes, refused_fields, resets, shown, written

PAGE = "settings"
PENDING_S = 120.0  # a confirmation that nobody gives is forgotten

# Which groups of settings stand in which column of the form.
FORM_COLUMNS = (
    ("Account and goal", "Market", "Risk", "Operations", "Stored data", "Computing", "Other"),
    ("Strategy", "Models", "News", "Execution"),
    ("Risk of the whole book",),
)


def settings_form(client: EngineClient, groups: dict[str, list[Field]], symbols: list[str]) -> None:
    """Show the settings by group, with units, ranges and what differs from the defaults; its button applies them."""
    fields = [field for group in groups.values() for field in group]
    stamp = stamp_of(fields)
    refused = st.session_state.get("settings.refused_fields", [])
    outcome()
    confirmation(client, PAGE, fields)
    with st.form("settings.form", border=False, enter_to_submit=False):
        columns = st.columns(3)
        for i, part in enumerate(FORM_COLUMNS):
            with columns[i]:
                for group in part:
                    _group(group, groups.get(group, []), stamp, symbols, refused)
        columns[0].form_submit_button(
            "Apply", type="primary", icon=":material/check:", on_click=_apply, args=(client, fields, stamp),
            width="stretch",
        )  # fmt: skip


def stamp_of(fields: list[Field]) -> str:
    """Return a part of widget keys: a new one when the engine's values change.

    So that a form never shows settings that are no longer in force.
    """
    return hashlib.sha256(json.dumps([field.value for field in fields]).encode()).hexdigest()[:12]


def reset_button(client: EngineClient, fields: list[Field]) -> None:
    """Offer to put every setting back to its default, after saying which ones would change."""
    wanted = resets(fields)
    with st.popover("Reset to defaults", icon=":material/restart_alt:", disabled=not wanted):
        for line in change_lines(fields, wanted):
            st.markdown(line)
        label = f"Reset {len(wanted)} setting{'' if len(wanted) == 1 else 's'}"
        names = [field.name for field in fields]
        st.button(label, type="primary", key="settings.reset", on_click=send, args=(client, wanted, names))


def _group(group: str, fields: list[Field], stamp: str, symbols: list[str], refused: list[str]) -> None:
    if not fields:
        return
    with st.container(border=True):
        st.markdown(f"**{group}**")
        for field in fields:
            setting(field, f"settings.{stamp}.{field.name}", symbols, refused)


def setting(field: Field, key: str, symbols: list[str], refused: list[str]) -> None:
    """Show one setting with what it means, whether it differs from its default, and whether it was refused."""
    _field(field, key, symbols)
    if field.name in refused:
        st.caption(":red[Refused: see the message above.]")
    elif field.changed:
        st.caption(f"changed · default {written(field, field.default)}")


def _field(field: Field, key: str, symbols: list[str]) -> None:
    value, meaning = shown(field, field.value), _meaning(field)
    if field.kind == "switch":
        st.toggle(field.label, value, key=key, help=meaning)
    elif field.kind == "choice":
        st.selectbox(
            field.label, field.choices, field.choices.index(value), key=key, help=meaning,
            accept_new_options=field.is_open,
        )  # fmt: skip
    elif field.kind == "words":
        known = symbols if field.name == "symbols" else ()
        st.multiselect(field.label, sorted({*known, *value}), value, key=key, help=meaning, accept_new_options=True)
    elif field.kind == "count":
        low, high = (None if limit is None else int(limit) for limit in (field.minimum, field.maximum))
        st.number_input(field.label, low, high, value, 1, key=key, help=meaning)
    elif field.kind == "number":
        st.number_input(field.label, field.minimum, field.maximum, value, format="%g", key=key, help=meaning)
    else:
        st.text_input(field.label, value, key=key, help=meaning)


def _meaning(field: Field) -> str:
    parts = [field.description]
    if field.minimum is not None or field.maximum is not None:
        low = "…" if field.minimum is None else f"{field.minimum:g}"
        high = "…" if field.maximum is None else f"{field.maximum:g}"
        parts.append(f"Range {low} to {high}.")
    return " ".join((*parts, f"Default {written(field, field.default)}. Key: {field.name}"))


def _apply(client: EngineClient, fields: list[Field], stamp: str) -> None:
    entered = {field.name: st.session_state[f"settings.{stamp}.{field.name}"] for field in fields}
    ask_or_send(client, PAGE, fields, changes(fields, entered))


def ask_or_send(client: EngineClient, page: str, fields: list[Field], values: dict[str, Any]) -> None:
    """Apply a change, or keep it for ``confirmation`` when it allows more risk. Only from a callback."""
    if loosened(fields, values):
        st.session_state[f"{page}.pending"] = (values, time.monotonic())
        return
    _forget(page)
    send(client, values, [field.name for field in fields])


def confirmation(client: EngineClient, page: str, fields: list[Field]) -> None:
    """Show the change of a page that waits for its second click, line by line, if there is one."""
    values, asked_s = st.session_state.get(f"{page}.pending", ({}, -PENDING_S))
    if not values or time.monotonic() - asked_s >= PENDING_S:
        return
    with st.container(border=True):
        st.warning("This allows more risk than before. It is applied only when you confirm it.",
                   icon=":material/lock_open:")  # fmt: skip
        st.markdown("  \n".join(change_lines(fields, values)))
        yes, no, _ = st.columns([2, 1, 4])
        yes.button("Loosen these limits", type="primary", key=f"{page}.confirm", on_click=_confirm,
                   args=(client, page, fields), width="stretch")  # fmt: skip
        no.button("Keep as they are", key=f"{page}.keep", on_click=_forget, args=(page,), width="stretch")


def _confirm(client: EngineClient, page: str, fields: list[Field]) -> None:
    values, _ = st.session_state.pop(f"{page}.pending", ({}, 0.0))
    send(client, values, [field.name for field in fields])


def _forget(page: str) -> None:
    st.session_state.pop(f"{page}.pending", None)


def send(client: EngineClient, values: dict[str, Any], names: list[str]) -> None:
    """Apply some settings and keep what became of it for ``outcome``. Only from a callback: once a click."""
    held = st.session_state
    held["settings.refused_fields"] = []
    if not values:
        held["settings.outcome"] = ("info", "Nothing differs from the settings in force.")
        return
    try:
        client.apply_settings(values, new_key())
    except CommandRefused as error:
        held["settings.refused_fields"] = refused_fields(str(error), names)
        held["settings.outcome"] = ("error", f"Nothing was applied. {error}")
    except EngineUnavailable as error:
        held["settings.outcome"] = ("error", f"Unknown whether the change was applied. {error.reason}")
    else:
        held["settings.outcome"] = ("success", f"Applied from the next decision on: {', '.join(sorted(values))}.")


def outcome() -> None:
    """Say once what became of the newest change."""
    kind, sentence = st.session_state.pop("settings.outcome", (None, ""))
    if kind:
        {"info": st.info, "error": st.error, "success": st.success}[kind](sentence)
