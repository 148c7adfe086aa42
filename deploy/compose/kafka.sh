#!/bin/bash
# `kafka.sh serve` starts Apache Kafka; on a new volume, it first formats the storage with a SCRAM user per service, and
# one for the audit.
# `kafka.sh check` exits with 0 if the broker answers. It starts no JVM, which would take 1.6 CPU seconds each time.
set -euo pipefail

serve() {
    local configuration="${KAFKA_CONFIGURATION:-/opt/orderly/kafka.properties}"
    local data="${KAFKA_DATA:-/var/lib/kafka/data}"
    local secrets="${SECRETS_FOLDER:-/run/secrets}" programs="${KAFKA_PROGRAMS:-/opt/kafka/bin}" user password
    local credentials=()
    if [[ ! -e "$data/meta.properties" ]]; then
        for user in users orders notifications audit; do
            password="$(<"$secrets/${user}_kafka_password")"
            credentials+=(--add-scram "SCRAM-SHA-512=[name=$user,password=$password]")
        done
        "$programs/kafka-storage.sh" format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$configuration" \
            "${credentials[@]}"
    fi
    exec "$programs/kafka-server-start.sh" "$configuration"
}

# Ask for the ApiVersions (key 18, version 0), and wait for the first byte of the answer: a 0, the start of its length.
check() {
    exec 3<>"/dev/tcp/127.0.0.1/${KAFKA_LOCAL_PORT:-9094}"
    printf '\0\0\0\012\0\022\0\0\0\0\0\001\377\377' >&3
    read -r -d '' -t 3 <&3
}

"$1"
