#!/usr/bin/env bash
# Asks everything that the OpenAPI document of a running streamer allows, and much that it does not: schemathesis, on real Kafka, as the admin.
# usage: run.sh CACHE STREAMER      env: EXAMPLES (20) a method in each phase, SECONDS_AT_MOST (120), APIFUZZ_PORT (22092), APIFUZZ_SEED (1)
set -euo pipefail
unset "${!STREAMER_@}" # of whoever runs this: they are streamer's settings
cache=$1 streamer=$2 here=$(cd "$(dirname "$0")" && pwd) version=4.32.5
port=${APIFUZZ_PORT:-22092} listen=127.0.0.1:$((${APIFUZZ_PORT:-22092} + 8))
tool=$cache/schemathesis-$version
if [ ! -x "$tool/bin/st" ]; then
  rm -rf "$tool.new" && python3 -m venv "$tool.new" && "$tool.new/bin/pip" install -q "schemathesis==$version" && rm -rf "$tool" && mv "$tool.new" "$tool"
  sed -i "1s|$tool.new|$tool|" "$tool/bin/st" # a script names its interpreter
fi
dir=$(mktemp -d)
kafka() { KAFKA_PORT=$port KAFKA_LIBDIR=$cache/kafka-${KAFKA_VERSION:-4.1.2} "$here/../realparts/kafka-local.sh" "$@" "$dir/kafka" > "$dir/kafka.log" 2>&1; }
finish() {
  [ -z "${pid:-}" ] || { kill "$pid" && wait "$pid"; } || true
  kafka discard || true
  rm -rf "$dir"
}
trap finish EXIT
kafka up || { cat "$dir/kafka.log" >&2; exit 1; }
mkdir "$dir/jobs"
cat > "$dir/jobs/visits.yaml" <<'JOB'
id: visits
owner: health
type: PUT
topic: [visit]
url: http://127.0.0.1:1/visits/{id}
datamap: {id: $.msg.id}
JOB
export STREAMER_ADMIN_USER=admin STREAMER_ADMIN_PASSWORD STREAMER_SECRET_KEY
STREAMER_ADMIN_PASSWORD=$(openssl rand -hex 16) STREAMER_SECRET_KEY=$(openssl rand -base64 32)
STREAMER_KAFKA_BROKERS=127.0.0.1:$port STREAMER_LISTEN=$listen STREAMER_JOBS_DIR=$dir/jobs "$streamer" run > "$dir/streamer.log" 2>&1 &
pid=$!
python3 - "http://$listen/readyz" <<'PY' || { cat "$dir/streamer.log" >&2; exit 1; }
import sys, time, urllib.request
end = time.time() + 60
while True:
    try:
        urllib.request.urlopen(sys.argv[1]).close()
        break
    except OSError:
        if time.time() > end:
            sys.exit("streamer is not ready")
        time.sleep(0.2)
PY
cd "$dir"
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,refuses_strangers
PYTHONPATH=$here SCHEMATHESIS_HOOKS=strangers "$tool/bin/st" run "http://$listen/api/v1/openapi.json" --auth "$STREAMER_ADMIN_USER:$STREAMER_ADMIN_PASSWORD" \
  --seed "${APIFUZZ_SEED:-1}" -n "${EXAMPLES:-20}" --max-time "${SECONDS_AT_MOST:-120}" --request-timeout 60 --phases examples,coverage,fuzzing,stateful --checks "$checks"
if grep -E 'a request broke|level=ERROR.*panic' "$dir/streamer.log"; then exit 1; fi
