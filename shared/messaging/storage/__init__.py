"""The messaging tables: their DDL, their SQLAlchemy declaration, their daily partitions."""
