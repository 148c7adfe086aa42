"""Client histories: what clients sent and received during a campaign, and rules that the answers have to keep."""
