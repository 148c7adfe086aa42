#!/bin/bash
# Run Apache Kafka like the official image: its own class turns KAFKA_* into server.properties and formats the storage.
set -euo pipefail

config=/opt/kafka/config
java=(
    java -cp '/opt/kafka/libs/*' "-Dlog4j2.configurationFile=$config/log4j2.yaml"
    --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow
    # These shorten the start. The official image has an archive of loaded classes for that.
    -XX:+UseSerialGC -XX:TieredStopAtLevel=1
)
# Any valid id will do; this one is the official image's default.
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"

echo "===> Using provided cluster id $CLUSTER_ID ..."
if ! result=$("${java[@]}" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir "$config" 2>&1); then
    echo "$result"
    [[ "$result" == *"already formatted"* ]] || exit 1
fi
# Left unquoted: these options are several words.
exec "${java[@]}" ${KAFKA_HEAP_OPTS:--Xms1G -Xmx1G} ${KAFKA_OPTS:-} kafka.Kafka "$config/server.properties"
