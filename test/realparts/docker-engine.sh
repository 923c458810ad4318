#!/usr/bin/env bash
# A Docker engine of one's own for tests with testcontainers: a data folder, a socket and a bridge of its own, no firewall
# rules, containers reach nothing outside, mapped ports listen on 127.0.0.1 only. It leaves any other engine alone.
# Needs root, Debian's docker.io and iproute2.
# usage: docker-engine.sh up|down|status DIR     prints DOCKER_HOST=... and what testcontainers needs
# shellcheck disable=SC2015 # A && B || C is meant as it stands: C ends the script
set -euo pipefail
cmd=${1:-}; dir=${2:-}
[ -n "$cmd" ] && [ -n "$dir" ] || { sed -n '2,5p' "$0" >&2; exit 2; }
mkdir -p "$dir"; dir=$(cd "$dir" && pwd); sock=$dir/docker.sock
sum=$(printf %s "$dir" | cksum | cut -d' ' -f1); br=dk$((sum % 100000000)); net=172.30.$((sum % 250 + 1))
die() { echo "docker-engine: $*" >&2; exit 1; }
answers() { [ -S "$sock" ] && docker -H "unix://$sock" info >/dev/null 2>&1; }
case $cmd in
up)
  command -v dockerd >/dev/null || die "no dockerd: Debian package docker.io"
  command -v ip >/dev/null || die "no ip: Debian package iproute2"
  [ "$(id -u)" = 0 ] || die "needs root"
  [ ${#sock} -lt 100 ] || die "the path $sock is too long for a socket"
  if ! answers; then
    # a bridge of its own: two engines on docker0 give it each other's address, and containers become unreachable
    if ! ip link show "$br" >/dev/null 2>&1; then
      ip -4 addr | grep -qF "inet $net." && die "the network $net.0/24 is in use; choose another DIR"
      ip link add "$br" type bridge
    fi
    ip addr replace "$net.1/24" dev "$br"; ip link set "$br" up
    rm -f "$dir/docker.pid"
    setsid dockerd -H "unix://$sock" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
      --bridge "$br" --ip 127.0.0.1 --iptables=false --ip-masq=false --ip6tables=false --dns 127.0.0.1 > "$dir/dockerd.log" 2>&1 < /dev/null &
    pid=$!
    for _ in $(seq 300); do answers && break; kill -0 "$pid" 2>/dev/null || { tail -5 "$dir/dockerd.log" >&2; die "dockerd ended; see $dir/dockerd.log"; }; sleep 0.1; done
    answers || die "dockerd did not answer in 30 s; see $dir/dockerd.log"
  fi
  echo "DOCKER_HOST=unix://$sock"
  echo "TESTCONTAINERS_RYUK_DISABLED=true"       # ryuk's image cannot be pulled
  echo "TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1" ;; # else a machine with /.dockerenv takes its gateway for the engine's host
down)
  if [ -f "$dir/docker.pid" ]; then
    p=$(cat "$dir/docker.pid"); kill -TERM "$p" 2>/dev/null || true
    for _ in $(seq 200); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
    rm -f "$dir/docker.pid"; umount "$dir"/exec/netns/* 2>/dev/null || true
  fi
  ip link del "$br" 2>/dev/null || true ;;
status) if answers; then echo up; else echo down; exit 1; fi ;;
*) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
