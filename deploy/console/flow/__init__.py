"""The page *Flow*: services, topics and consumers as the event contracts declare them, with rates, lag and ages."""
