#!/usr/bin/env bash
# Prepares this machine for tests on a real Kafka: Debian packages (as root), Kafka's jars, a container engine if none answers, and
# an image per version. What is there already is left alone: a second run takes a second. Everything is kept in the cache folder.
# Whatever cannot be had is said aloud, and the tests then use the next best way; with CI=true nothing at all is a failure.
# usage: setup.sh [VERSION...]      default: KAFKA_VERSION, else 4.1.2
#        setup.sh down              ends the engine that an earlier run started
# env: STREAMER_TEST_CACHE (default: streamer-test in the user's cache folder)   STREAMER_KAFKA_MODE=process needs no engine
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${STREAMER_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/streamer-test}
say() { echo "setup: $*" >&2; }
if [ "${1:-}" = down ]; then exec "$here/docker-engine.sh" down "$cache/engine"; fi
[ $# -gt 0 ] || set -- "${KAFKA_VERSION:-4.1.2}"
mkdir -p "$cache"
exec 9> "$cache/lock"; flock 9 # two runs at once would build the same thing twice

# packages: command → Debian package
need=()
wants() { command -v "$1" > /dev/null || need+=("$2"); }
wants java openjdk-17-jdk-headless; wants mvn maven; wants openssl openssl
if [ "${STREAMER_KAFKA_MODE:-}" != process ]; then
  wants jlink openjdk-17-jdk-headless; wants dockerd docker.io; wants docker docker.io; wants ip iproute2
  b=$(command -v busybox || true)
  if [ -z "$b" ] || ldd "$b" > /dev/null 2>&1; then need+=(busybox-static); fi
fi
if [ ${#need[@]} -gt 0 ]; then
  mapfile -t need < <(printf '%s\n' "${need[@]}" ca-certificates | sort -u)
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    say "installing ${need[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends "${need[@]}"; } > "$cache/apt.log" 2>&1 9>&- ||
      { tail -5 "$cache/apt.log" >&2; say "apt-get failed; see $cache/apt.log"; }
    hash -r
  else
    say "missing here, and only root could install it: ${need[*]}"
  fi
fi

engine=
if [ "${STREAMER_KAFKA_MODE:-}" != process ] && command -v docker > /dev/null; then
  if docker info > /dev/null 2>&1; then
    engine=yes
  elif [ "$(id -u)" = 0 ] && command -v dockerd > /dev/null; then
    if out=$("$here/docker-engine.sh" up "$cache/engine" 9>&-); then
      DOCKER_HOST=$(sed -n 's/^DOCKER_HOST=//p' <<< "$out"); export DOCKER_HOST; engine=yes
    else
      say "no container engine could be started"
    fi
  fi
fi

failed=
for version; do
  dir=$cache/kafka-$version ways=()
  export KAFKA_VERSION=$version
  if command -v java > /dev/null && "$here/kafka-jars.sh" "$dir" > /dev/null; then ways+=(process); fi
  if [ -n "$engine" ] && "$here/build-kafka-image.sh" "$dir" > /dev/null; then ways=(container "${ways[@]}"); fi
  if [ ${#ways[@]} -gt 0 ]; then
    say "Kafka $version is ready (${ways[*]})"
  else
    say "################################################################"
    say "NO REAL KAFKA $version: the tests that need one will be skipped."
    say "It takes Java 17 and Maven, or a container engine as well."
    say "################################################################"
    failed=yes
  fi
done
if [ -n "$failed" ] && [ "${CI:-}" = true ]; then exit 1; fi
