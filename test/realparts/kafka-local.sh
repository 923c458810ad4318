#!/usr/bin/env bash
# A real Apache Kafka (KRaft, no container) on loopback: one node or three, for tests.
# usage: kafka-local.sh up|down|discard|status|bootstrap|version DIR
#        (discard = SIGKILL for all; version = what the running broker itself wrote in its log)
#        kafka-local.sh kill|stop|start DIR NODE   (kill = SIGKILL, stop = clean, start = the same data again)
#        kafka-local.sh tool DIR CLASS ARGS...     (e.g. tool DIR org.apache.kafka.tools.TopicCommand --list)
# env for `up`: KAFKA_VERSION (4.1.2)  KAFKA_NODES (1|3)  KAFKA_PORT (29092)  KAFKA_HEAP (512m)  KAFKA_LIBDIR (DIR)
#               KAFKA_SECURE=1 adds SASL_SSL, SSL and SASL_PLAINTEXT listeners, a CA and a user
#               KAFKA_PROXIED=1 adds a listener for clients behind a proxy: node n listens at P+5 and tells them to come to P+6
#               KAFKA_USER (app)  KAFKA_PASSWORD (app-secret)   KAFKA_ACLS=1 turns the ACL authorizer on
#               KAFKA_OWNER  a process id: when that process is gone, the cluster goes down and DIR is removed
#               KAFKA_EXTRA  more server properties, one a line; a later line wins   KAFKA_OPTS  more options for the brokers' java
# ports: node n has PLAINTEXT at P=KAFKA_PORT+10*(n-1), CONTROLLER P+1, SASL_SSL P+2, SSL P+3, SASL_PLAINTEXT P+4
# shellcheck disable=SC2015 # A && B || C is meant as it stands: C ends the script
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cmd=${1:-}; dir=${2:-}
[ -n "$cmd" ] && [ -n "$dir" ] || { sed -n '2,14p' "$0" >&2; exit 2; }
die() { echo "kafka-local: $*" >&2; exit 1; }
case $cmd in
up) mkdir -p "$dir" ;;
down|discard) [ -d "$dir" ] || exit 0 ;;
*) [ -d "$dir" ] || die "no cluster in $dir" ;;
esac
dir=$(cd "$dir" && pwd)
conf=$dir/cluster.env
# shellcheck source=/dev/null
if [ -f "$conf" ] && [ "$cmd" != up ]; then . "$conf"; fi
: "${KAFKA_NODES:=1}" "${KAFKA_PORT:=29092}" "${KAFKA_HEAP:=512m}" "${KAFKA_LIBDIR:=$dir}" "${KAFKA_SECURE:=}" "${KAFKA_ACLS:=}" "${KAFKA_PROXIED:=}"
: "${KAFKA_USER:=app}" "${KAFKA_PASSWORD:=app-secret}" "${KAFKA_EXTRA:=}" "${KAFKA_OPTS:=}" "${KAFKA_VERSION:=4.1.2}" "${KAFKA_OWNER:=}"
export KAFKA_VERSION
port() { echo $((KAFKA_PORT + 10 * ($1 - 1) + ${2:-0})); }
each() { local n; for n in $(seq "$KAFKA_NODES"); do "$@" "$n"; done; }
# A process has ended when nothing of it holds its ports: the first of its threads is a zombie before the others are gone.
runs() { kill -0 "$1" 2>/dev/null && [ "$(awk '/^State:/ { z = $2 } /^Threads:/ { n = $2 } END { print z n }' "/proc/$1/status" 2>/dev/null)" != Z1 ]; }
alive() { [ -f "$dir/n$1/pid" ] && runs "$(cat "$dir/n$1/pid")"; }
list() { local n out=; for n in $(seq "$KAFKA_NODES"); do out+=,127.0.0.1:$(port "$n" "$1"); done; echo "${out#,}"; }
java_() { java -cp "$KAFKA_LIBDIR/lib/*" "$@"; }

certs() {
  local t=$dir/tls; [ -f "$t/broker.pem" ] && return
  mkdir -p "$t"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=test-ca -keyout "$t/ca.key" -out "$t/ca.pem" 2>/dev/null
  local name
  for name in broker client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$t/$name.key" -out "$t/$name.csr" 2>/dev/null
    openssl x509 -req -days 3650 -in "$t/$name.csr" -CA "$t/ca.pem" -CAkey "$t/ca.key" -CAcreateserial -out "$t/$name.crt" \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") 2>/dev/null
    cat "$t/$name.key" "$t/$name.crt" "$t/ca.pem" > "$t/$name.pem"   # Kafka's PEM key store: key first, then the chain
  done
}

config() {
  local n=$1 d=$dir/n$1 rf=1 isr=1 voters="" i l a m
  [ -d "$dir" ] || die "$dir was removed: its owner is gone"
  [ "$KAFKA_NODES" -ge 3 ] && { rf=3; isr=2; }
  for i in $(seq "$KAFKA_NODES"); do voters+=,$i@127.0.0.1:$(port "$i" 1); done
  l=PLAINTEXT://127.0.0.1:$(port "$n"); m=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
  if [ -n "$KAFKA_SECURE" ]; then
    l+=,SASL_SSL://127.0.0.1:$(port "$n" 2),SSL://127.0.0.1:$(port "$n" 3),SASL_PLAINTEXT://127.0.0.1:$(port "$n" 4)
    m+=,SASL_SSL:SASL_SSL,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
  fi
  a=$l
  if [ -n "$KAFKA_PROXIED" ]; then
    l+=,PROXIED://127.0.0.1:$(port "$n" 5); a+=,PROXIED://127.0.0.1:$(port "$n" 6); m+=,PROXIED:PLAINTEXT
  fi
  l+=,CONTROLLER://127.0.0.1:$(port "$n" 1)
  mkdir -p "$d"
  { cat <<X
process.roles=broker,controller
node.id=$n
controller.quorum.voters=${voters#,}
listeners=$l
advertised.listeners=$a
listener.security.protocol.map=$m
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$d/data
num.partitions=3
default.replication.factor=$rf
min.insync.replicas=$isr
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$isr
share.coordinator.state.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
group.coordinator.rebalance.protocols=classic,consumer,share
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
group.share.min.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controlled.shutdown.enable=true
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
X
  if [ -n "$KAFKA_SECURE" ]; then cat <<X
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
ssl.client.auth=none
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
X
    for i in sasl_ssl sasl_plaintext; do cat <<X
listener.name.$i.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.$i.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.$i.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$KAFKA_USER="$KAFKA_PASSWORD";
X
    done
  fi
  [ -n "$KAFKA_ACLS" ] && cat <<X
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
X
  printf '%s\n' "$KAFKA_EXTRA"; } > "$d/server.properties"
}

format() {
  local n=$1 d=$dir/n$1; [ -f "$d/data/meta.properties" ] && return 0
  local extra=(); [ -n "$KAFKA_SECURE" ] && extra=(--add-scram "SCRAM-SHA-512=[name=$KAFKA_USER,password=$KAFKA_PASSWORD]"
    --add-scram "SCRAM-SHA-256=[name=$KAFKA_USER,password=$KAFKA_PASSWORD]")
  java_ -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error kafka.tools.StorageTool format \
    -t "$cluster" -c "$d/server.properties" --feature share.version=1 "${extra[@]}" > "$d/format.log" 2>&1 || { cat "$d/format.log" >&2; die "format of node $n failed"; }
}

start() {
  local n=$1 d=$dir/n$1; alive "$n" && return 0
  (exec 3<>"/dev/tcp/127.0.0.1/$(port "$n")") 2>/dev/null && die "port $(port "$n") is taken; set KAFKA_PORT"
  : > "$d/server.log"
  # shellcheck disable=SC2086 # KAFKA_OPTS is a list of words
  setsid java -Xms128m -Xmx"$KAFKA_HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $KAFKA_OPTS -Dorg.slf4j.simpleLogger.showDateTime=true \
    -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS -Dorg.slf4j.simpleLogger.logFile=System.out \
    -cp "$KAFKA_LIBDIR/lib/*" kafka.Kafka "$d/server.properties" >> "$d/server.log" 2>&1 < /dev/null &
  echo $! > "$d/pid"
}

ready() {
  local n=$1 d=$dir/n$1 i
  for i in $(seq 1200); do
    grep -q 'Transitioning from RECOVERY to RUNNING' "$d/server.log" && (exec 3<>"/dev/tcp/127.0.0.1/$(port "$n")") 2>/dev/null && return 0
    alive "$n" || { tail -20 "$d/server.log" >&2; die "node $n ended while starting; see $d/server.log"; }
    sleep 0.1
  done
  die "node $n was not ready in 120 s; see $d/server.log"
}

halt() { # node signal
  alive "$1" || return 0
  local p i; p=$(cat "$dir/n$1/pid"); kill "-$2" "$p"
  for i in $(seq 150); do runs "$p" || { rm -f "$dir/n$1/pid"; return 0; }; sleep 0.1; done
  kill -KILL "$p" 2>/dev/null || true; rm -f "$dir/n$1/pid"
}

# A test that is killed cannot clean up: the watcher does, within a second or two.
watch() {
  # shellcheck disable=SC2016 # the inner shell expands
  setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; rm -f "$3/watch.pid"; "$2" discard "$3"; [ "$4" = "$3" ] || rm -rf "$3"' \
    watch "$KAFKA_OWNER" "$here/kafka-local.sh" "$dir" "$KAFKA_LIBDIR" > /dev/null 2>&1 < /dev/null &
  echo $! > "$dir/watch.pid"
}

unwatch() {
  [ -f "$dir/watch.pid" ] || return 0
  kill "$(cat "$dir/watch.pid")" 2>/dev/null || true; rm -f "$dir/watch.pid"
}

case $cmd in
up)
  eph=$(cut -f1 /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null || echo 32768)
  [ $((KAFKA_PORT + 40)) -lt "$eph" ] || die "KAFKA_PORT must be below $eph: above, an outgoing connection can hold a broker's port"
  "$here/kafka-jars.sh" "$KAFKA_LIBDIR" >/dev/null
  if [ -n "$KAFKA_SECURE" ]; then certs; fi
  [ -f "$dir/cluster.id" ] || head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=' > "$dir/cluster.id"
  cluster=$(cat "$dir/cluster.id")
  for v in KAFKA_NODES KAFKA_PORT KAFKA_HEAP KAFKA_LIBDIR KAFKA_SECURE KAFKA_ACLS KAFKA_PROXIED KAFKA_USER KAFKA_PASSWORD KAFKA_OPTS KAFKA_VERSION; do printf '%s=%q\n' "$v" "${!v}"; done > "$conf"
  trap '[ $? = 0 ] || "$0" down "$dir"' EXIT   # no half cluster left behind
  if [ -n "$KAFKA_OWNER" ]; then watch; fi
  each config; each format; each start; each ready
  echo "KAFKA_BROKERS=$(list 0)"
  if [ -n "$KAFKA_PROXIED" ]; then echo "KAFKA_BEHIND=$(list 5)"; echo "KAFKA_PROXIES=$(list 6)"; fi
  if [ -n "$KAFKA_SECURE" ]; then
    echo "KAFKA_SASL_SSL_BROKERS=$(list 2)"; echo "KAFKA_SSL_BROKERS=$(list 3)"; echo "KAFKA_SASL_PLAINTEXT_BROKERS=$(list 4)"
    echo "KAFKA_CA=$dir/tls/ca.pem"; echo "KAFKA_CLIENT_CERT=$dir/tls/client.crt"; echo "KAFKA_CLIENT_KEY=$dir/tls/client.key"
  fi ;;
down) # newest first, together: a quorum cannot shut down cleanly node by node
  unwatch
  pids=(); for n in $(seq "$KAFKA_NODES"); do alive "$n" && { kill -TERM "$(cat "$dir/n$n/pid")"; pids+=("$n"); }; done
  for n in "${pids[@]}"; do for _ in $(seq 50); do alive "$n" || break; sleep 0.1; done; halt "$n" KILL; rm -f "$dir/n$n/pid"; done ;;
discard) unwatch; for n in $(seq "$KAFKA_NODES"); do halt "$n" KILL; done ;;
kill)  halt "${3:?node}" KILL ;;
stop)  halt "${3:?node}" TERM ;;
start) start "${3:?node}"; ready "$3" ;;
status) for n in $(seq "$KAFKA_NODES"); do if alive "$n"; then echo "node $n: up, 127.0.0.1:$(port "$n"), pid $(cat "$dir/n$n/pid")"; else echo "node $n: down"; fi; done ;;
bootstrap) list 0 ;;
version) # the broker answers a moment before it writes that
  for _ in $(seq 100); do
    grep -m1 -oE 'Kafka version: [0-9.]+' "$dir/n1/server.log" | cut -d' ' -f3 && exit 0
    sleep 0.1
  done
  die "the log of node 1 does not say its version" ;;
tool) shift 2; java_ -Dorg.slf4j.simpleLogger.defaultLogLevel=error "$1" --bootstrap-server "$(list 0)" "${@:2}" ;;
*) sed -n '2,14p' "$0" >&2; exit 2 ;;
esac
