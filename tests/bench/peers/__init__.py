"""Peers: the same order flow as others write it, as baselines of what an order costs.

`run` starts each peer with servers of its own and loads it like Orderly. `tutorial` is FastAPI, the SQLAlchemy ORM and
FastStream with a transaction for each message; `dbos_app` is a DBOS workflow; `bare_post` executes the SQL of Orderly's
POST and nothing else. `models` and `mails` are what the peers share.
"""
