"""From a target position to fills: ids, order states, placement, stops, tickets. Pure; no socket, no clock."""
