"""Learning: from closed bars to forecasts with their doubt. Nothing here trades or opens the database."""
