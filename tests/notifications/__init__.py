"""The notifications service, through its topics, its jobs and its HTTP."""
