"""The venue's error codes, their sentences and the HTTP status that carries them."""

from __future__ import annotations

from engine.venues.sandbox.wire import to_json

OUTCOME_UNKNOWN = -1006
UNAUTHORIZED = -1002
TOO_MANY_REQUESTS = -1003
TIMEOUT = -1007
TOO_MANY_ORDERS = -1015
TIMESTAMP_OUTSIDE = -1021
BAD_SIGNATURE = -1022
ILLEGAL_VALUE = -1100
PARAM_MISSING = -1102
BAD_TIF = -1115
BAD_ORDER_TYPE = -1116
BAD_SIDE = -1117
BAD_INTERVAL = -1120
BAD_SYMBOL = -1121
BAD_LISTEN_KEY = -1125
BAD_WINDOW = -1127
BAD_COMBINATION = -1128
BAD_RESPONSE_TYPE = -1136
ORDER_REJECTED = -2010
CANCEL_REJECTED = -2011
NO_SUCH_ORDER = -2013
BAD_KEY_FORMAT = -2014
KEY_REFUSED = -2015
BALANCE_INSUFFICIENT = -2018
NO_MARGIN_TYPE_CHANGE = -4046
NO_POSITION_SIDE_CHANGE = -4059
POSITION_SIDE_MISMATCH = -4061
TOO_MANY_IN_BATCH = -4082
UPCOMING_METHOD = -4084
NONCE_EXPIRED = -4225

SENTENCES: dict[int, str] = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    UNAUTHORIZED: "You are not authorized to execute this request.",
    TOO_MANY_REQUESTS: "Too many requests.",
    OUTCOME_UNKNOWN: "An unexpected response was received from the message bus. Execution status unknown.",
    TIMEOUT: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    TOO_MANY_ORDERS: "Too many new orders.",
    TIMESTAMP_OUTSIDE: "Timestamp for this request is outside of the recvWindow.",
    BAD_SIGNATURE: "Signature for this request is not valid.",
    BAD_TIF: "Invalid timeInForce.",
    BAD_ORDER_TYPE: "Invalid orderType.",
    BAD_SIDE: "Invalid side.",
    BAD_INTERVAL: "Invalid interval.",
    BAD_SYMBOL: "Invalid symbol.",
    BAD_LISTEN_KEY: "This listenKey does not exist.",
    BAD_RESPONSE_TYPE: "Invalid newOrderRespType.",
    ORDER_REJECTED: "NEW_ORDER_REJECTED",
    CANCEL_REJECTED: "Unknown order sent.",
    NO_SUCH_ORDER: "Order does not exist.",
    BAD_KEY_FORMAT: "API-key format invalid.",
    KEY_REFUSED: "Invalid API-key, IP, or permissions for action.",
    BALANCE_INSUFFICIENT: "Balance is insufficient.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2023: "User in liquidation mode now.",
    -2025: "Reach max open order limit.",
    NO_MARGIN_TYPE_CHANGE: "No need to change margin type.",
    NO_POSITION_SIDE_CHANGE: "No need to change position side.",
    POSITION_SIDE_MISMATCH: "Order's position side does not match user's setting.",
    TOO_MANY_IN_BATCH: "Invalid number of batch place orders.",
    UPCOMING_METHOD: "Method is not allowed currently. Upcoming soon.",
    -4116: "ClientOrderId is duplicated.",
    -4131: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    -4164: "Order's notional must be no smaller than 5.0 (unless you choose reduce only).",
    NONCE_EXPIRED: "Nonce is expired or was already used.",
}

_STATUS_OF_CODE = {
    UNAUTHORIZED: 401,
    BAD_KEY_FORMAT: 401,
    KEY_REFUSED: 401,
    TOO_MANY_REQUESTS: 429,
    TOO_MANY_ORDERS: 429,
    OUTCOME_UNKNOWN: 503,
    TIMEOUT: 503,
}


class Refusal(Exception):
    """An answer other than success, as a status and the body ``{"code", "msg"}``.

    Parameters
    ----------
    code : int
        Negative venue code.
    message : str or None
        Sentence of the body; None takes the code's usual one.
    status : int or None
        HTTP status; None takes the one that belongs to the code (400 for most).
    headers : dict or None
        Extra response headers, such as ``Retry-After``.
    """

    def __init__(
        self, code: int, message: str | None = None, status: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.code = code
        self.message = message if message is not None else SENTENCES.get(code, "Request rejected.")
        self.status = status if status is not None else http_status(code)
        self.headers = headers or {}
        super().__init__(f"{self.message} ({self.code})")

    def body(self) -> str:
        """Return the JSON body."""
        return error_body(self.code, self.message)


def http_status(code: int) -> int:
    """Return the HTTP status under which the venue sends an error code."""
    return _STATUS_OF_CODE.get(code, 400)


def error_body(code: int, message: str | None = None) -> str:
    """Return ``{"code", "msg"}`` as JSON, with the code's usual sentence when none is given."""
    return to_json({"code": code, "msg": message if message is not None else SENTENCES.get(code, "Request rejected.")})


def missing(name: str) -> Refusal:
    """Return the error for a mandatory parameter that is absent, empty or malformed."""
    return Refusal(PARAM_MISSING, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
