#!/usr/bin/env bash
# A real OpenID Connect provider (Keycloak, development mode) on loopback, for tests.
# usage: keycloak.sh up|down|status DIR
# env: KEYCLOAK_VERSION (26.5.0), KEYCLOAK_PORT (28080; its management listens one higher)
# up prints OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and OIDC_USER_PASSWORD. The realm has the roles viewer, operator and admin, a user of
# the same name for each, and tokens for the audience streamer-api with the roles in the claim roles. The client people may change users and
# groups. Secrets are made anew for every DIR.
set -euo pipefail
usage() { sed -n '2,7s/^# //p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd) version=${KEYCLOAK_VERSION:-26.5.0} port=${KEYCLOAK_PORT:-28080}
home=$dir/keycloak-$version base=http://127.0.0.1:$port
issuer=$base/realms/streamer

fail() { echo "keycloak.sh: $*" >&2; exit 1; }
running() { [ -f "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2> /dev/null; }
answers() { curl -fs -m 2 -o /dev/null "$1/.well-known/openid-configuration"; }

# unpack brings the distribution from Maven Central, once.
unpack() {
  [ -f "$home/.unpacked" ] && return
  command -v mvn > /dev/null || fail "Maven is missing (Debian: maven)"
  rm -rf "$home"
  local work; work=$(mktemp -d)
  printf '%s' '<project><modelVersion>4.0.0</modelVersion><groupId>none</groupId><artifactId>none</artifactId><version>1</version><packaging>pom</packaging></project>' > "$work/pom.xml"
  mvn -q -B -f "$work/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack \
    "-Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip" "-DoutputDirectory=$dir" >&2 || fail "Keycloak $version could not be had from Maven Central"
  rm -rf "$work"
  chmod +x "$home/bin/kc.sh"
  touch "$home/.unpacked"
}

random() { od -An -N18 -tx1 /dev/urandom | tr -d ' \n'; }

# realm writes what is imported: roles, users, the client that gets tokens, and what those say.
realm() {
  local users="" name
  for name in viewer operator admin; do
    users+=$(printf '{"username":"%s","enabled":true,"emailVerified":true,"email":"%s@example.test","firstName":"%s","lastName":"Test","realmRoles":["%s"],
      "credentials":[{"type":"password","value":"%s","temporary":false}]},' "$name" "$name" "$name" "$name" "$OIDC_USER_PASSWORD")
  done
  cat << JSON
{"realm":"streamer","enabled":true,"sslRequired":"none","accessTokenLifespan":300,
 "roles":{"realm":[{"name":"viewer"},{"name":"operator"},{"name":"admin"}]},
 "users":[$users{"username":"service-account-streamer-api","enabled":true,"serviceAccountClientId":"streamer-api","realmRoles":["operator"]},
  {"username":"service-account-people","enabled":true,"serviceAccountClientId":"people","clientRoles":{"realm-management":["manage-users"]}}],
 "clients":[
  {"clientId":"streamer-api","secret":"$OIDC_CLIENT_SECRET","enabled":true,"protocol":"openid-connect","publicClient":false,
   "serviceAccountsEnabled":true,"directAccessGrantsEnabled":true,"standardFlowEnabled":true,"redirectUris":["http://127.0.0.1:*"],
   "protocolMappers":[
    {"name":"audience","protocol":"openid-connect","protocolMapper":"oidc-audience-mapper",
     "config":{"included.client.audience":"streamer-api","access.token.claim":"true","id.token.claim":"false"}},
    {"name":"roles","protocol":"openid-connect","protocolMapper":"oidc-usermodel-realm-role-mapper",
     "config":{"claim.name":"roles","jsonType.label":"String","multivalued":"true","access.token.claim":"true","id.token.claim":"true"}}]},
  {"clientId":"streamer-cli","enabled":true,"protocol":"openid-connect","publicClient":true,"standardFlowEnabled":false,
   "attributes":{"oauth2.device.authorization.grant.enabled":"true","oauth2.device.polling.interval":"1"},
   "protocolMappers":[
    {"name":"audience","protocol":"openid-connect","protocolMapper":"oidc-audience-mapper",
     "config":{"included.client.audience":"streamer-api","access.token.claim":"true","id.token.claim":"false"}},
    {"name":"roles","protocol":"openid-connect","protocolMapper":"oidc-usermodel-realm-role-mapper",
     "config":{"claim.name":"roles","jsonType.label":"String","multivalued":"true","access.token.claim":"true","id.token.claim":"true"}}]},
  {"clientId":"people","secret":"$OIDC_CLIENT_SECRET","enabled":true,"protocol":"openid-connect","publicClient":false,"serviceAccountsEnabled":true},
  {"clientId":"another-api","secret":"$OIDC_CLIENT_SECRET","enabled":true,"protocol":"openid-connect","publicClient":false,"serviceAccountsEnabled":true}]}
JSON
}

start() {
  running && return
  (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null && fail "port $port is taken; choose another by KEYCLOAK_PORT"
  rm -rf "$home/data/h2"
  mkdir -p "$home/data/import"
  realm > "$home/data/import/streamer-realm.json"
  JAVA_OPTS_KC_HEAP="-Xms128m -Xmx384m" JAVA_OPTS_APPEND="-XX:-UseG1GC -XX:+UseSerialGC -XX:TieredStopAtLevel=1" \
    setsid "$home/bin/kc.sh" start-dev --import-realm --http-host=127.0.0.1 "--http-port=$port" "--http-management-port=$((port + 1))" \
    "--hostname=$base" --cache=local > "$dir/log" 2>&1 < /dev/null &
  echo $! > "$dir/pid"
  for _ in $(seq 600); do
    answers "$issuer" && return
    running || { tail -20 "$dir/log" >&2; fail "Keycloak has ended; its log is $dir/log"; }
    sleep 0.2
  done
  fail "Keycloak did not come up within two minutes; its log is $dir/log"
}

case $1 in
  up)
    for tool in java curl setsid; do command -v $tool > /dev/null || fail "$tool is missing"; done
    if [ ! -f "$dir/secrets" ]; then (umask 077; printf 'OIDC_CLIENT_SECRET=%s\nOIDC_USER_PASSWORD=%s\n' "$(random)" "$(random)" > "$dir/secrets"); fi
    . "$dir/secrets"
    unpack
    start
    printf 'OIDC_ISSUER=%s\nOIDC_CLIENT_ID=streamer-api\n' "$issuer"
    cat "$dir/secrets" ;;
  down)
    if running; then
      leader=$(cat "$dir/pid")
      kill -TERM -- "-$leader"
      for _ in $(seq 100); do kill -0 -- "-$leader" 2> /dev/null || break; sleep 0.1; done
      kill -KILL -- "-$leader" 2> /dev/null || true
    fi
    rm -f "$dir/pid" ;;
  status) if running; then echo up; else echo down; exit 1; fi ;;
  *) usage ;;
esac
