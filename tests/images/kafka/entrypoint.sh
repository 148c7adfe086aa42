#!/bin/bash
# Run Apache Kafka like the official image: Kafka's wrapper class turns KAFKA_* into server.properties and formats the
# storage.
set -euo pipefail

config=/opt/kafka/config
java=(
    java -cp '/opt/kafka/libs/*' "-Dlog4j2.configurationFile=$config/log4j2.yaml"
    --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow
    # For a faster start. The official image has an archive of loaded classes instead.
    -XX:+UseSerialGC -XX:TieredStopAtLevel=1
)
# The default of the official image.
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"

echo "===> Using provided cluster id $CLUSTER_ID ..."
if ! result=$("${java[@]}" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir "$config" 2>&1); then
    echo "$result"
    [[ "$result" == *"already formatted"* ]] || exit 1
fi
# Without quotes, because each variable has several options.
exec "${java[@]}" ${KAFKA_HEAP_OPTS:--Xms1G -Xmx1G} ${KAFKA_OPTS:-} kafka.Kafka "$config/server.properties"
