"""The customers' journeys come from the real invoices."""

import pytest

from deploy.demo.catalogue import products_of
from deploy.demo.invoices import read_lines
from deploy.load.journeys import NoBaskets, demand_of, journeys_of_invoices
from deploy.load.plan import Journey, Login, Plan


def test_each_valid_invoice_is_a_basket_and_each_cancellation_cancels_something() -> None:
    skus = {product["sku"] for product in products_of(read_lines())}

    journeys = journeys_of_invoices(skus, seed=1)

    baskets = [journey for journey in journeys if journey.items]
    assert (len(baskets), len(journeys) - len(baskets)) == (1620, 362)
    assert all(units > 0 and sku in skus for journey in baskets for sku, units in journey.items.items())
    assert sum(len(journey.search) >= 3 for journey in baskets) == 1620
    assert journeys == journeys_of_invoices(skus, seed=1)
    assert journeys != journeys_of_invoices(skus, seed=2)


def test_a_catalogue_without_these_products_is_explained() -> None:
    with pytest.raises(NoBaskets, match=r"\(1 products\) lacks the products.*import-catalogue"):
        journeys_of_invoices({"LAMP"}, seed=1)


def test_the_demand_counts_journeys_that_begin_again() -> None:
    journeys = [Journey({"A": 2, "B": 1}), Journey({}), Journey({"A": 1})]

    assert demand_of(journeys, number=5) == {"A": 5, "B": 2}


def test_a_plan_survives_its_way_to_the_process_that_sends_the_requests() -> None:
    plan = Plan(
        url="http://127.0.0.1:8080",
        rate=2.5,
        seconds=3,
        think_seconds=0.5,
        seed=4,
        logins=[Login("a@example.com", "secret", "token", "refresh")],
        journeys=[Journey({"A": 1}, search="LAMP"), Journey({})],
    )

    assert Plan.loads(plan.dumps()) == plan
    assert plan.described() == "open loop, 2.5 customers per second for 3 s"
