"""The page *Stuck*: orders, deliveries and jobs that do not go on, with the reason and the action that helps."""
