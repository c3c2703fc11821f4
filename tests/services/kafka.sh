#!/usr/bin/env bash
# Apache Kafka (KRaft, broker and controller in one JVM) in DIR on 127.0.0.1.
#   kafka.sh fetch                      once: jars from Maven Central into $KAFKA_LIBS (56 MB)
#   kafka.sh start DIR PORT [name=value...]
#       PORT   PLAINTEXT
#       PORT+1 SASL_PLAINTEXT: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; user tyk, password secret; with PLAIN also guest, who has
#              no rights; OAUTHBEARER with tokens that nobody signed
#       PORT+2 SSL; client certificate asked for, not required (ssl.client.auth=requested)
#       PORT+3 SASL_SSL, same users
#       PORT+4 SSL, client certificate required
#       PORT+9 controller
#       certificates in DIR/certs; further name=value are broker settings (message.max.bytes=1000, ...)
#   kafka.sh topic DIR NAME [PARTITIONS] [name=value...]
#   kafka.sh stop DIR
# KAFKA_LIBS: folder of the jars, default $XDG_CACHE_HOME (or ~/.cache)/test-services/kafka-VERSION
# KAFKA_VERSION: default 3.9.1.  KAFKA_HEAP: default 320m.  KAFKA_LOG: WARN, INFO, DEBUG.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
version=${KAFKA_VERSION:-3.9.1}
libs=${KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/test-services/kafka-$version}

jvm() { # jvm HEAP MAIN ARGS...
  exec java -Xmx"$1" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto \
    -Dlog4j.configuration="file:$here/kafka/log4j.properties" -Dtest.log.level="${KAFKA_LOG:-WARN}" \
    -cp "$libs/*" "${@:2}"
}
export -f jvm
export libs here

case ${1:-} in
fetch)
  need mvn maven
  mkdir -p "$libs"
  mvn -q -B -f "$here/kafka/pom.xml" -Dkafka.version="$version" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs"
  ;;
start)
  [ $# -ge 3 ] || die "usage: start DIR PORT [name=value...]"
  need java openjdk-17-jre-headless
  [ -d "$libs" ] || die "no jars in $libs, run '$0 fetch'"
  open_dir "$2"
  port=$3
  shift 3
  "$here/certs.sh" "$DIR/certs"
  jaas='org.apache.kafka.common.security'
  l="PLAIN://127.0.0.1:$port,SASL://127.0.0.1:$((port + 1)),SSL://127.0.0.1:$((port + 2))"
  l="$l,SASLSSL://127.0.0.1:$((port + 3)),MTLS://127.0.0.1:$((port + 4))"
  {
    echo "process.roles=broker,controller"
    echo "node.id=1"
    echo "controller.quorum.voters=1@127.0.0.1:$((port + 9))"
    echo "controller.listener.names=CONTROLLER"
    echo "listeners=$l,CONTROLLER://127.0.0.1:$((port + 9))"
    echo "advertised.listeners=$l"
    echo "inter.broker.listener.name=PLAIN"
    echo "listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,SSL:SSL,SASLSSL:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT"
    echo "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
    echo "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    echo "super.users=User:ANONYMOUS;User:tyk"
    echo "ssl.principal.mapping.rules=RULE:^.*\$/tyk/"
    for name in sasl saslssl; do
      echo "listener.name.$name.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required user_tyk=\"secret\" user_guest=\"secret\";"
      echo "listener.name.$name.oauthbearer.sasl.jaas.config=$jaas.oauthbearer.OAuthBearerLoginModule required;"
      echo "listener.name.$name.scram-sha-256.sasl.jaas.config=$jaas.scram.ScramLoginModule required;"
      echo "listener.name.$name.scram-sha-512.sasl.jaas.config=$jaas.scram.ScramLoginModule required;"
    done
    echo "ssl.keystore.type=PEM"
    echo "ssl.keystore.location=$DIR/certs/server.pem"
    echo "ssl.truststore.type=PEM"
    echo "ssl.truststore.location=$DIR/certs/ca.crt"
    echo "listener.name.ssl.ssl.client.auth=requested"
    echo "listener.name.mtls.ssl.client.auth=required"
    echo "log.dirs=$DIR/log"
    echo "num.partitions=1"
    echo "offsets.topic.num.partitions=1"
    echo "offsets.topic.replication.factor=1"
    echo "transaction.state.log.num.partitions=1"
    echo "transaction.state.log.replication.factor=1"
    echo "transaction.state.log.min.isr=1"
    echo "group.initial.rebalance.delay.ms=0"
    echo "log.cleaner.enable=false"
    printf '%s\n' "$@"
  } >"$DIR/server.properties"
  if [ ! -e "$DIR/log/meta.properties" ]; then
    # Format the storage; the SCRAM credentials go in at the same step.
    (jvm 128m kafka.tools.StorageTool format -t test-cluster-000000000A -c "$DIR/server.properties" \
      --add-scram 'SCRAM-SHA-256=[name=tyk,password=secret]' \
      --add-scram 'SCRAM-SHA-512=[name=tyk,password=secret]') >"$DIR/format.log" 2>&1 || { cat "$DIR/format.log" >&2; exit 1; }
  fi
  spawn kafka bash -c 'jvm "$@"' jvm "${KAFKA_HEAP:-320m}" kafka.Kafka "$DIR/server.properties"
  up() {
    local i
    for i in 0 1 2 3 4; do tcp_open $((port + i)) || return 1; done
  }
  wait_ready kafka 60 up # the listeners open only when the broker may serve
  ;;
topic)
  [ $# -ge 3 ] || die "usage: topic DIR NAME [PARTITIONS] [name=value...]"
  port=$(sed -n 's/^advertised.listeners=PLAIN:\/\/127.0.0.1:\([0-9]*\),.*/\1/p' "$2/server.properties")
  config=()
  for c in "${@:5}"; do config+=(--config "$c"); done
  jvm 128m org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$port" --create --topic "$3" \
    --partitions "${4:-1}" --replication-factor 1 "${config[@]}"
  ;;
stop) stop_all "${2:?DIR}" ;;
*) die "usage: fetch | start DIR PORT [name=value...] | topic DIR NAME [PARTITIONS] [name=value...] | stop DIR" ;;
esac
