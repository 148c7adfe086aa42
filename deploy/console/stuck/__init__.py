"""The page *Stuck*: orders, deliveries and jobs that do not proceed, with the reason and the action that helps."""
