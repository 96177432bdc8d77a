"""The practice exchange: a matching engine with margin, funding and liquidation behind the venue's own protocol."""
