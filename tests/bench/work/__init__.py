"""The cost of an order: counted statement by statement, and timed process by process.

`__main__` is the command, `measured_system` starts what is measured. Counting: `lone_orders` places the orders and
`idle` waits, with `statement_log`, `transactions`, `wal`, `kafka_work` and `other_work` as counters. Timing: `loads`,
with `processor_time`. `budget` compares the counts with work_budget.toml, `comparison` the times with another checkout.
"""
