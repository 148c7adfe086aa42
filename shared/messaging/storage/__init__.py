"""The messaging tables: DDL, SQLAlchemy declaration, daily partitions."""
