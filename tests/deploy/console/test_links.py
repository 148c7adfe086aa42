"""Links between the pages lead to what they name."""

from tests.deploy.console.running_console import Console


async def test_a_service_leads_to_its_own_logs_and_the_flow_to_its_state(console: Console) -> None:
    system, flow = await console.page("/"), await console.page("/flow")
    for service in ("users", "orders", "notifications"):
        assert f'href="/logs?process={service}"' in system
        assert (f'id="service-{service}"' in system, f"/logs?service={service}" in system) == (True, False)
    for producer in ("users", "orders"):
        assert f'href="/#service-{producer}"' in flow
