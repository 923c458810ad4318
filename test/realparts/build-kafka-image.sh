#!/usr/bin/env bash
# Builds a local Docker image with a real Apache Kafka, from Debian's JDK and Maven's jars: no image is pulled.
# `docker run --network host IMAGE` starts one broker at 127.0.0.1:9092; KAFKA_A_B=v in its environment sets a.b=v.
# x86_64 only: elsewhere the tests use process mode (kafka-local.sh).
# usage: build-kafka-image.sh WORKDIR [IMAGE]     env: KAFKA_VERSION (4.1.2)
# Does nothing when the image that this very script builds is there.
# shellcheck disable=SC2015 # A && B || C is meant as it stands: C ends the script
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?usage: build-kafka-image.sh WORKDIR [IMAGE]}; export KAFKA_VERSION=${KAFKA_VERSION:-4.1.2}
image=${2:-streamer-test/kafka:$KAFKA_VERSION}
die() { echo "build-kafka-image: $*" >&2; exit 1; }
[ "$(uname -m)" = x86_64 ] || die "builds on x86_64 only"
docker info >/dev/null 2>&1 || die "no Docker engine answers (docker-engine.sh starts one)"
recipe=$(cksum < "$0" | cut -d' ' -f1)
[ "$(docker image inspect -f '{{index .Config.Labels "streamer.recipe"}}' "$image" 2>/dev/null)" = "$recipe" ] && { echo "$image"; exit 0; }
jdk=$(dirname "$(dirname "$(readlink -f "$(command -v jlink || die 'no jlink: Debian package openjdk-17-jdk-headless')")")")
[ -d "$jdk/jmods" ] || die "$jdk has no jmods: Debian package openjdk-17-jdk-headless"
busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1 || die "no static busybox: Debian package busybox-static"
mkdir -p "$work"; work=$(cd "$work" && pwd)
"$here/kafka-jars.sh" "$work" >/dev/null
r=$work/rootfs; rm -rf "$r"
mkdir -p "$r"/{bin,usr/bin,usr/sbin,usr/local/bin,etc,opt,tmp,var/lib/kafka/data,lib64,lib/x86_64-linux-gnu,root}
ln -s x86_64-linux-gnu "$r/lib/lib" ; chmod 1777 "$r/tmp"
"$jdk/bin/jlink" --output "$r/opt/jre" --strip-debug --no-header-files --no-man-pages --compress=0 \
  --add-modules java.base,java.desktop,java.logging,java.management,java.naming,java.rmi,java.security.jgss,java.security.sasl,java.sql,java.xml,jdk.crypto.ec,jdk.management,jdk.unsupported,jdk.zipfs
"$r/opt/jre/bin/java" -Xshare:dump >/dev/null 2>&1 || true
cp -a "$work/lib" "$r/opt/kafka-lib"
cp "$busybox" "$r/bin/busybox"; cp "$(command -v bash)" "$r/bin/bash"
for a in $("$busybox" --list); do [ -e "$r/bin/$a" ] || ln -s /bin/busybox "$r/bin/$a"; done
# the shared libraries that java, its own libraries and the jars' native parts link against
{ ldd "$r/bin/bash" "$r/opt/jre/bin/java"; find "$r/opt/jre/lib" -name '*.so' -exec ldd {} +; ldconfig -p | grep -E 'x86-64.*(libstdc\+\+|libgcc_s|libnss_files|libnss_dns|libresolv|librt|libdl|libpthread)\.so'; } \
  | grep -oE '/(usr/)?lib[^ ]*\.so[^ ]*' | grep -v "^$r" | sort -u | while read -r l; do cp -nL "$l" "$r/lib/x86_64-linux-gnu/" 2>/dev/null || true; done
cp -L /lib64/ld-linux-x86-64.so.2 "$r/lib64/"
printf 'root:x:0:0:root:/root:/bin/sh\n' > "$r/etc/passwd"; printf 'hosts: files dns\n' > "$r/etc/nsswitch.conf"

cat > "$r/usr/local/bin/kafka-tool" <<'X'
#!/bin/bash
# kafka-tool CLASS ARGS...   e.g. kafka-tool org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:9092 --list
exec java -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp '/opt/kafka-lib/*' "$@"
X
cat > "$r/usr/local/bin/kafka-broker" <<'X'
#!/bin/bash
# Starts the broker with the properties of its environment: KAFKA_A_B=v becomes a.b=v; __ stands for _, ___ for -
set -e
env | grep '^KAFKA_' | grep -vE '^KAFKA_(HEAP_OPTS|OPTS)=' | while IFS='=' read -r k v; do
  k=$(echo "${k#KAFKA_}" | tr 'A-Z' 'a-z' | sed 's/___/-/g; s/__/%/g; s/_/./g; s/%/_/g'); echo "$k=$v"
done > /tmp/kafka.properties
if ! [ -f "$KAFKA_LOG_DIRS/meta.properties" ]; then # a restart keeps its data
  kafka-tool kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" -c /tmp/kafka.properties --feature share.version=1
fi
exec java ${KAFKA_HEAP_OPTS:--Xms128m -Xmx512m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${KAFKA_OPTS:-} \
  -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
  -Dorg.slf4j.simpleLogger.logFile=System.out -cp '/opt/kafka-lib/*' kafka.Kafka /tmp/kafka.properties
X
chmod 755 "$r"/usr/local/bin/*
# shellcheck disable=SC2054 # the commas belong to the values
env_=(PATH=/opt/jre/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu
  KAFKA_PROCESS_ROLES=broker,controller KAFKA_NODE_ID=1 KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER
  KAFKA_LISTENERS=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093 KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093
  KAFKA_LOG_DIRS=/var/lib/kafka/data KAFKA_NUM_PARTITIONS=3 KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1
  KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1 KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1
  KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR=1 KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR=1
  KAFKA_GROUP_COORDINATOR_REBALANCE_PROTOCOLS=classic,consumer,share KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0)
changes=(); for e in "${env_[@]}"; do changes+=(--change "ENV $e"); done
tar -C "$r" -c . | docker import "${changes[@]}" --change 'WORKDIR /' --change 'EXPOSE 9092' --change 'CMD ["/usr/local/bin/kafka-broker"]' --change "LABEL streamer.recipe=$recipe" - "$image" >/dev/null
rm -rf "$r"
docker run --rm --network none --entrypoint java "$image" -version >/dev/null 2>&1 || die "the image's java does not start"
echo "$image"
