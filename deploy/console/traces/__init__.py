"""The traces that the services sent: a list, and the waterfall of each."""
