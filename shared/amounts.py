"""The upper bound of amounts, the same in every service, so that what one of them accepts all others can apply."""

MAX_AMOUNT_CENTS = 10**15
"""Upper bound of a price, a total, a refund and a credit limit, in the currency's smallest unit.

Every JSON parser represents it exactly (it is below 2**53), and a bigint holds the sum of 9,000 of them.
"""
