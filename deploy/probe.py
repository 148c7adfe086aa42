"""The health check of a container: exits with 0 if the service $SERVICE is `live` or `ready`, as the argument says."""

import http.client
import os
import ssl
import sys


def is_healthy(port: int, kind: str, *, has_tls: bool) -> bool:
    connection: http.client.HTTPConnection
    if has_tls:
        # The certificate names the service as others reach it, not this address of the container itself.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", f"/health/{kind}")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    prefix = f"{os.environ['SERVICE'].upper()}_HTTP_"
    is_encrypted = f"{prefix}CERTIFICATE_FILE" in os.environ
    sys.exit(0 if is_healthy(int(os.environ[f"{prefix}PORT"]), sys.argv[1], has_tls=is_encrypted) else 1)
