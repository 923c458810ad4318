#!/usr/bin/env bash
# A real schema registry on loopback: Apicurio Registry (in memory), which also serves Confluent's REST API (ccompat).
# usage: registry.sh up|down|status DIR      prints SCHEMA_REGISTRY_URL (Confluent's API, version 7)
# env: APICURIO_VERSION (2.6.13.Final)  REGISTRY_PORT (28180)  REGISTRY_HEAP (256m)
set -euo pipefail
cmd=${1:-}; dir=${2:-}
[ -n "$cmd" ] && [ -n "$dir" ] || { sed -n '2,4p' "$0" >&2; exit 2; }
mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
ver=${APICURIO_VERSION:-2.6.13.Final}; port=${REGISTRY_PORT:-28180}; url=http://127.0.0.1:$port
home=$dir/apicurio-$ver
die() { echo "registry.sh: $*" >&2; exit 1; }
alive() { [ -f "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }
case $cmd in
up)
  command -v java >/dev/null || die "no java: Debian package openjdk-17-jre-headless"
  if [ ! -f "$home/.complete" ]; then
    command -v mvn >/dev/null || die "no mvn: Debian package maven"
    rm -rf "$home"; mkdir -p "$home"
    pom=$(mktemp -d)   # a project of its own, or the plugin leaves its marker files in the working directory
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version><packaging>pom</packaging></project>' > "$pom/pom.xml"
    mvn -q -B -f "$pom/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack \
      -Dartifact=io.apicurio:apicurio-registry-app:"$ver":tar.gz:all -DoutputDirectory="$home" >&2 || die "mvn could not unpack Apicurio Registry $ver"
    rm -rf "$pom"; touch "$home/.complete"
  fi
  if ! alive; then
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && die "port $port is taken; set REGISTRY_PORT"
    setsid java -Xms64m -Xmx"${REGISTRY_HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" \
      -Dregistry.ccompat.legacy-id-mode.enabled=false -jar "$home/apicurio-registry-app-$ver-runner.jar" > "$dir/registry.log" 2>&1 < /dev/null &
    echo $! > "$dir/pid"
    for _ in $(seq 300); do
      curl -fs -m 2 -o /dev/null "$url/apis/ccompat/v7/subjects" && break
      alive || { tail -15 "$dir/registry.log" >&2; die "the registry ended; see $dir/registry.log"; }
      sleep 0.2
    done
    curl -fs -m 2 -o /dev/null "$url/apis/ccompat/v7/subjects" || die "the registry was not ready in 60 s; see $dir/registry.log"
  fi
  echo "SCHEMA_REGISTRY_URL=$url/apis/ccompat/v7" ;;
down)
  alive && { p=$(cat "$dir/pid"); kill -TERM "$p"; for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done; kill -KILL "$p" 2>/dev/null || true; }
  rm -f "$dir/pid" ;;
status) if alive; then echo "up, $url, pid $(cat "$dir/pid")"; else echo down; exit 1; fi ;;
*) sed -n '2,4p' "$0" >&2; exit 2 ;;
esac
