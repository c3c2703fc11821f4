#!/usr/bin/env bash
# The database, search, log and metric servers that tests share.
#   eval "$(scripts/services.sh start [SERVER ...])"   starts those that do not run, and exports PUMP_TEST_<SERVER>
#   scripts/services.sh install [SERVER ...]           only installs what they need
#   scripts/services.sh stop
# SERVER: postgres mariadb mariadb-tls mysql56 search rsyslog gelf ferretdb statsd statsd-exporter influxdb moto kafka; all of them by default. Their scripts are in tests/services.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
PATH=$PATH:/usr/sbin # where Debian has mariadbd, and users have not

all=(postgres mariadb mariadb-tls mysql56 search rsyslog gelf ferretdb statsd statsd-exporter influxdb moto kafka)
# Not below the work tree: databases run as users of their own, who may not be let in there.
folder=${PUMP_TEST_FOLDER:-${TMPDIR:-/tmp}/tyk-pump-services.$(cksum <<<"$PWD" | cut -d' ' -f1)}
base=${PUMP_TEST_PORTS:-28100}

install() {
  local packages=()
  case " $* " in *" postgres "*) [ -d /usr/lib/postgresql ] || packages+=(postgres-is-missing postgresql) ;; esac
  case " $* " in *" mariadb "* | *" mariadb-tls "*) packages+=(mariadbd mariadb-server openssl openssl) ;; esac
  case " $* " in *" mysql56 "*) packages+=(npm npm mariadb mariadb-client) ;; esac
  case " $* " in *" search "*) packages+=(javac openjdk-17-jdk-headless mvn maven curl curl pip3 python3-pip) ;; esac
  case " $* " in *" rsyslog "*)
    packages+=(rsyslogd rsyslog openssl openssl)
    [ -n "$(find /usr/lib -name lmnsd_gtls.so -print -quit)" ] || packages+=(rsyslog-tls-is-missing rsyslog-gnutls)
    ;;
  esac
  case " $* " in *" gelf "*) packages+=(go golang-go) ;; esac
  case " $* " in *" statsd "*) packages+=(npm npm) ;; esac
  case " $* " in *" statsd-exporter "*) packages+=(go golang-go) ;; esac
  case " $* " in *" ferretdb "*) packages+=(psql postgresql-client unshare util-linux) ;; esac
  case " $* " in *" influxdb "*) packages+=(influxd influxdb curl curl) ;; esac
  case " $* " in *" moto "*) packages+=(python3 python3-venv) ;; esac
  case " $* " in *" kafka "*) packages+=(java openjdk-17-jre-headless mvn maven openssl openssl) ;; esac
  [ ${#packages[@]} -eq 0 ] || install_missing "${packages[@]}" >&2
}

# start_one NAME PORT SCRIPT [ARGUMENT ...]
start_one() {
  local name=$1 port=$2 script=tests/services/$3.sh
  shift 3
  if [ -e "$folder/$name/ready" ]; then
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
    rm -rf "${folder:?}/$name" # left over from a server that has ended
  fi
  if grep -q '^ *fetch)' "$script"; then "$script" fetch >&2; fi
  "$script" start "$folder/$name" "$port" "$@" >&2
  touch "$folder/$name/ready"
}

announce() { echo "export PUMP_TEST_$1='$2'"; }

start() {
  mkdir -p "$folder"
  chmod 755 "$folder"
  install "$@"
  # Side by side: most of the time they wait for themselves.
  local server starting=() status=0
  for server in "$@"; do
    start_server "$server" &
    starting+=($!)
  done
  for server in "${starting[@]}"; do wait "$server" || status=$?; done
  return $status
}

start_server() {
  case $1 in
  postgres)
    start_one postgres "$base" postgres
    announce POSTGRES "postgres://postgres:secret@127.0.0.1:$base/postgres"
    ;;
  mariadb)
    start_one mariadb $((base + 10)) mariadb
    announce MARIADB "mysql://tyk:secret@127.0.0.1:$((base + 10))/"
    ;;
  mariadb-tls) # its user must use TLS; the authority is mariadb-tls/certs/ca.crt
    start_one mariadb-tls $((base + 15)) mariadb tls
    announce MARIADB_TLS "mysql://tyk:secret@127.0.0.1:$((base + 15))/"
    ;;
  mysql56)
    start_one mysql56 $((base + 20)) mysql56
    announce MYSQL56 "mysql://tyk:secret@127.0.0.1:$((base + 20))/"
    ;;
  search)
    start_one es-7.17 $((base + 30)) search es-7.17 action.auto_create_index=true
    announce ELASTICSEARCH "http://127.0.0.1:$((base + 30))"
    start_one es-5.6 $((base + 80)) search es-5.6
    announce ELASTICSEARCH5 "http://127.0.0.1:$((base + 80))"
    start_one os-2.19 $((base + 90)) search os-2.19 action.auto_create_index=true
    announce OPENSEARCH "http://127.0.0.1:$((base + 90))"
    start_one es-8.19 $((base + 100)) search es-8.19 action.auto_create_index=true
    announce ELASTICSEARCH8 "http://127.0.0.1:$((base + 100))"
    start_one os-1.3 $((base + 110)) search os-1.3 action.auto_create_index=true
    announce OPENSEARCH1 "http://127.0.0.1:$((base + 110))"
    start_one os-3.3 $((base + 120)) search os-3.3 action.auto_create_index=true
    announce OPENSEARCH3 "http://127.0.0.1:$((base + 120))"
    ;;
  ferretdb)
    start_one ferretdb $((base + 40)) ferretdb tls
    announce MONGO "mongodb://tyk:secret@127.0.0.1:$((base + 40))/"
    announce MONGO_TLS "mongodb://tyk:secret@localhost:$((base + 42))/"
    announce MONGO_CERTS "$folder/ferretdb/certs"
    ;;
  rsyslog) # UDP and TCP, TLS one port higher; what it got is in files of its folder
    start_one rsyslog $((base + 60)) rsyslog
    announce RSYSLOG "127.0.0.1:$((base + 60)) $(cd "$folder" && pwd)/rsyslog"
    ;;
  gelf) # UDP and TCP; what it got is in out.jsonl of its folder
    start_one gelf $((base + 70)) gelf
    announce GELF "127.0.0.1:$((base + 70)) $(cd "$folder" && pwd)/gelf"
    ;;
  statsd)
    start_one statsd $((base + 180)) statsd
    announce STATSD "127.0.0.1:$((base + 180))"
    ;;
  statsd-exporter) # its Unix socket is dsd in its folder
    start_one statsd-exporter $((base + 185)) statsd-exporter
    announce STATSD_EXPORTER "127.0.0.1:$((base + 185)) $(cd "$folder" && pwd)/statsd-exporter"
    ;;
  influxdb)
    start_one influxdb $((base + 130)) influxdb
    announce INFLUXDB "http://127.0.0.1:$((base + 130))"
    ;;
  moto) # Kinesis, SQS and others of AWS
    start_one moto $((base + 195)) moto
    announce MOTO "http://127.0.0.1:$((base + 195))"
    ;;
  kafka) # logins one port higher, then TLS, both, and client certificates; its folder has the certificates
    start_one kafka $((base + 140)) kafka
    announce KAFKA "127.0.0.1:$((base + 140)) $(cd "$folder" && pwd)/kafka"
    ;;
  *) die "unknown server $1; there are ${all[*]}" ;;
  esac
}

stop() {
  local name
  for name in "$folder"/*/; do
    name=$(basename "$name")
    case $name in
    mariadb-tls) tests/services/mariadb.sh stop "$folder/$name" ;;
    es-* | os-*) tests/services/search.sh stop "$folder/$name" ;;
    *) tests/services/"$name".sh stop "$folder/$name" ;;
    esac
    rm -f "$folder/$name/ready"
  done
}

command=${1:-}
shift || true
[ $# -gt 0 ] || set -- "${all[@]}"
case $command in
install) install "$@" ;;
start) start "$@" ;;
stop) stop ;;
*) die "usage: ${0##*/} install|start [SERVER ...] | stop" ;;
esac
