#!/usr/bin/env bash
# Puts the jars of a real Apache Kafka (broker + command-line tools) into DIR/lib, by Maven. Does nothing when they are there.
# usage: kafka-jars.sh DIR      env: KAFKA_VERSION (4.1.2)
set -euo pipefail
dir=${1:?usage: kafka-jars.sh DIR}
ver=${KAFKA_VERSION:-4.1.2}
lib=$dir/lib
[ -f "$lib/.complete-$ver" ] && { echo "$lib"; exit 0; }
command -v mvn >/dev/null || { echo "kafka-jars: mvn not found (Debian package maven)" >&2; exit 1; }
command -v java >/dev/null || { echo "kafka-jars: java not found (Debian package openjdk-17-jre-headless)" >&2; exit 1; }
mkdir -p "$dir"
new=$(mktemp -d -p "$dir")  # beside lib, so that the move at the end is atomic
pom=$new.pom/pom.xml; mkdir "$new.pom"
trap 'rm -rf "$new" "$new.pom"' EXIT
cat > "$pom" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$ver</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$ver</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
X
mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DoutputDirectory="$(cd "$new" && pwd)" -DincludeScope=runtime > "$new.pom/log" 2>&1 || { cat "$new.pom/log" >&2; echo "kafka-jars: mvn failed for Kafka $ver" >&2; exit 1; }
[ -f "$new/kafka_2.13-$ver.jar" ] || { echo "kafka-jars: mvn brought no kafka_2.13-$ver.jar" >&2; exit 1; }
touch "$new/.complete-$ver"
chmod 755 "$new"; rm -rf "$lib"; mv "$new" "$lib"
echo "$lib"
