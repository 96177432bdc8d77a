"""What stands between a person and real money: the vault, the second factor, the checks before live trading."""
