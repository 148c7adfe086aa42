"""The health check of a container: exits with 0 if the service $SERVICE is `live` or `ready`, as the argument says."""

import http.client
import os
import sys


def is_healthy(port: int, kind: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", f"/health/{kind}")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    port_of_the_service = int(os.environ[f"{os.environ['SERVICE'].upper()}_HTTP_PORT"])
    sys.exit(0 if is_healthy(port_of_the_service, sys.argv[1]) else 1)
