"""The Settings page's part on live trading: the vault, the second factor, the checklist.

Secrets go from a password field to the engine in the callback of the form's button and are wiped there, whatever the
engine answers: a refused one is typed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import streamlit as st

from app.client import CommandRefused, EngineClient, EngineUnavailable

KINDS = {
    "agent": "Agent key (recommended)",
    "hmac": "Legacy API key",
    "private_key": "The account's own private key",
}
FIELDS = {
    "agent": {"signer_key": "Agent's private key", "user": "Account address"},
    "hmac": {"api_key": "API key", "api_secret": "API secret"},
    "private_key": {"private_key": "Private key"},
}
IN_THE_OPEN = {"user"}
NOTICE = "live.notice"


def live_trading(client: EngineClient) -> None:
    """Show the three things that live trading needs, and where each stands."""
    summary = client.vault()
    st.markdown(
        "Live trading needs a key in the vault, a second factor and a green checklist. What has and has not been "
        "verified at Aster itself: `docs/live.md`."
    )
    _notice()
    left, right = st.columns(2)
    with left, st.container(border=True):
        _vault(client, summary)
    with right, st.container(border=True):
        _second_factor(client, summary)
    with st.container(border=True):
        _checklist(client, summary)


# vault --------------------------------------------------------------------------------------------------------------


def _vault(client: EngineClient, summary: dict[str, Any]) -> None:
    st.markdown("**Vault** " + (":green[exists]" if summary["exists"] else ":gray[none yet; storing a key makes it]"))
    for name in summary["names"]:
        st.markdown(f"{name}: {KINDS.get(summary['kinds'][name], summary['kinds'][name])}")
    kind = st.selectbox("Kind of key", list(KINDS), format_func=KINDS.get, key="live.kind")
    if kind == "private_key":
        st.warning("This key can always withdraw, so live trading refuses it. Create an agent at the venue instead.")
    with st.form("live.store", border=False):
        st.text_input("Name", "main", key="live.name", max_chars=32)
        for field, label in FIELDS[kind].items():
            shown = "default" if field in IN_THE_OPEN else "password"
            st.text_input(label, key=f"live.value.{field}", type=shown, autocomplete="off")
        _passphrase("live.store.passphrase", is_new=not summary["exists"])
        st.form_submit_button("Store in the vault", on_click=_store, args=(client, kind, summary["exists"]))
    if summary["names"]:
        with st.popover("Remove a key"), st.form("live.remove", border=False):
            st.selectbox("Which", summary["names"], key="live.remove.name")
            _passphrase("live.remove.passphrase")
            st.form_submit_button("Remove", on_click=_remove, args=(client,))


def _passphrase(key: str, *, is_new: bool = False) -> None:
    label = "New passphrase, at least 10 characters" if is_new else "Vault passphrase"
    st.text_input(label, key=key, type="password", autocomplete="off")
    if is_new:
        st.text_input("The same again", key=f"{key}.again", type="password", autocomplete="off")


def _store(client: EngineClient, kind: str, exists: bool) -> None:
    name = st.session_state["live.name"].strip()
    values = {field: _taken(f"live.value.{field}") for field in FIELDS[kind]}
    passphrase = _new_passphrase("live.store.passphrase", exists)
    if passphrase is None:
        return
    _send(lambda: client.store_credential(name, kind, values, passphrase), f"Stored {name} in the vault.")


def _new_passphrase(key: str, exists: bool) -> str | None:
    """Return what was typed; None, with a notice, when a new one was typed in two ways."""
    passphrase, again = _taken(key), _taken(f"{key}.again")
    if exists or passphrase == again:
        return passphrase
    _tell("error", "The two passphrases differ: nothing was stored.")
    return None


def _remove(client: EngineClient) -> None:
    name, passphrase = st.session_state["live.remove.name"], _taken("live.remove.passphrase")
    _send(lambda: client.remove_credential(name, passphrase), f"Removed {name} from the vault.")


def _taken(key: str) -> str:
    """Return what a field holds and wipe it."""
    text = st.session_state.get(key, "")
    if key in st.session_state:
        st.session_state[key] = ""
    return text


# second factor ------------------------------------------------------------------------------------------------------


def _second_factor(client: EngineClient, summary: dict[str, Any]) -> None:
    is_set = summary["second_factor"]
    st.markdown("**Second factor** " + (":green[set up]" if is_set else ":red[not set up]"))
    setup = st.session_state.get("live.setup")
    if setup is None:
        st.button("Replace it" if is_set else "Show a QR code", key="live.setup.begin", on_click=_begin, args=(client,))
        return
    st.markdown("Scan this with an authenticator app, then enter its first code. It is shown this once.")
    st.image(setup["qr_svg"], width=220)
    with st.expander("No camera?"):
        st.code(parse_qs(urlsplit(setup["uri"]).query)["secret"][0], language=None)
    with st.form("live.confirm", border=False):
        st.text_input("First code", key="live.code", max_chars=8, autocomplete="one-time-code")
        if is_set:
            st.text_input("A code of the old one", key="live.code.current", max_chars=8, autocomplete="off")
        _passphrase("live.confirm.passphrase", is_new=not summary["exists"])
        st.form_submit_button("Confirm", on_click=_confirm, args=(client, summary["exists"]))
    st.button("Give up", key="live.setup.end", on_click=st.session_state.pop, args=("live.setup",))


def _begin(client: EngineClient) -> None:
    def work() -> None:
        st.session_state["live.setup"] = client.totp_setup()

    _send(work, "")


def _confirm(client: EngineClient, exists: bool) -> None:
    code, current = _taken("live.code").strip(), _taken("live.code.current").strip()
    passphrase = _new_passphrase("live.confirm.passphrase", exists)
    if passphrase is None:
        return

    def work() -> None:
        client.totp_confirm(code, passphrase, current)
        del st.session_state["live.setup"]

    _send(work, "The second factor is in force.")


# checklist ----------------------------------------------------------------------------------------------------------


def _checklist(client: EngineClient, summary: dict[str, Any]) -> None:
    answer = client.arming()
    items = answer["items"]
    n_green = sum(item["ok"] for item in items)
    st.markdown(f"**Checklist** {n_green} of {len(items)} green")
    _items(items)
    if not answer["ready"]:
        st.caption("Live trading stays off until every item is green.")
        return
    st.markdown("Arm here, or stop this engine and start live trading at a terminal:")
    st.code(answer["command"], language="bash")
    _arming_form(client, summary["names"])


def _items(items: list[dict[str, Any]]) -> None:
    marks = {True: ":green[✓]", False: ":red[✕]"}
    st.markdown("  \n".join(f"{marks[item['ok']]} **{item['name']}** {item['detail']}" for item in items))


def _arming_form(client: EngineClient, names: list[str]) -> None:
    with st.form("live.arm", border=False):
        st.selectbox("Key", names, key="live.arm.key")
        _passphrase("live.arm.passphrase")
        st.text_input('Type "TRADE LIVE"', key="live.arm.phrase", autocomplete="off")
        st.text_input("Code of the authenticator app", key="live.arm.code", max_chars=8, autocomplete="one-time-code")
        st.checkbox("I have read docs/live.md and go on at Aster itself", key="live.arm.accepted")
        st.form_submit_button("Check the account and trade live", type="primary", on_click=_arm, args=(client,))
    refused = st.session_state.get("live.arm.items")
    if refused:
        st.error("Refused: the items marked ✕ must be green first. The engine keeps trading on paper.")
        _items(refused)


def _arm(client: EngineClient) -> None:
    held = st.session_state
    answers = {
        "passphrase": _taken("live.arm.passphrase"), "code": _taken("live.arm.code").strip(),
        "phrase": _taken("live.arm.phrase"), "key": held["live.arm.key"],
        "accept_unverified": bool(held["live.arm.accepted"]),
    }  # fmt: skip
    held.pop("live.arm.items", None)

    def work() -> None:
        answer = client.arm(answers)
        if not answer["armed"]:
            held["live.arm.items"] = answer["items"]
            raise CommandRefused("Live trading is not armed.")

    _send(work, "Armed. The engine starts again in live mode; the sidebar shows it in a few seconds.")


# notices ------------------------------------------------------------------------------------------------------------


def _send(work: Callable[[], Any], done: str) -> None:
    try:
        work()
    except CommandRefused as error:
        _tell("error", f"Nothing was changed. {error}")
    except EngineUnavailable as error:
        _tell("error", f"Unknown whether it was done. {error.reason}")
    else:
        _tell("success", done)


def _tell(kind: str, text: str) -> None:
    st.session_state[NOTICE] = (kind, text)


def _notice() -> None:
    kind, text = st.session_state.get(NOTICE, ("", ""))
    if text:
        (st.success if kind == "success" else st.error)(text)
