#!/usr/bin/env bash
# Tests with-postgres and with-pgbouncer themselves: a test harness that leaves servers behind, or loses a failing status,
# spoils everything that runs under it.
# shellcheck disable=SC2317 # functions are called through check and eventually
set -u
here=$(cd "$(dirname "$0")" && pwd)
with=$here/with-postgres

unset DATABASE_URL PGBOUNCER_URL
bin=$("$here/../scripts/find-postgres") || {
  echo "test-with-postgres: skipped, there are no server binaries"
  exit 0
}
# One directory for the whole test: whatever is left of a server shows up here. Short, for the sockets' sake.
TMPDIR=$(mktemp -d /tmp/lp.XXXXXX) && chmod 755 "$TMPDIR" || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
out=$TMPDIR/out checks=0 failed=0

check() { # check NAME CONDITION…
  local name=$1
  shift
  checks=$((checks + 1))
  "$@" && return
  failed=$((failed + 1))
  echo "FAILED: $name; the last output was:" >&2
  sed 's/^/    /' "$out" >&2
}
eventually() {
  local i
  for ((i = 0; i < 500; i++)); do
    "$@" && return
    sleep 0.02
  done
  return 1
}
gone() { [ -n "$1" ] && ! kill -0 "$1" 2>/dev/null; }
scratch_is_empty() { ! ls -d "$TMPDIR"/leakpool.* >/dev/null 2>&1; }
has() { grep -qe "$1" "$out"; }

has_told() { [ "$(wc -l <"$out")" = 2 ]; }

# What CMD runs to tell this script about its server.
tell="head -n 1 \"\$LEAKPOOL_TEST_SOCKET_DIR/../data/postmaster.pid\"; echo \$\$"
# Starts with-postgres in the background with a CMD that reports and then sleeps. Sets wrapper, server, command.
in_background() {
  : >"$out"
  # A background job ignores INT from the start, which no shell can undo; a user's terminal starts it otherwise.
  (
    trap - INT
    exec "$with" sh -c "$tell; exec sleep 60"
  ) >"$out" &
  wrapper=$!
  check "with-postgres starts" eventually has_told
  { read -r server && read -r command; } <"$out"
}

# --- status, arguments, standard input --------------------------------------------------------------------------------
echo 'from stdin' | "$with" sh -c "$tell; cat; echo \"\$1\"; exit 7" sh 'two  words' >"$out"
check "CMD's status is returned" [ $? = 7 ]
check "CMD keeps its standard input" has 'from stdin'
check "CMD's arguments stay whole" has 'two  words'
check "the server has gone by the time with-postgres returns" gone "$(head -n 1 "$out")"
check "its directory is removed" scratch_is_empty

# --- what CMD finds, two at once, standard input closed, a mixed environment ------------------------------------------
# shellcheck disable=SC2016 # for the inner shell
look='q() { "$LEAKPOOL_TEST_PG_BIN/psql" -XqtA "$@"; }
  at=${DATABASE_URL#*@} port=${at#*:} port=${port%/*}
  echo "port $port"
  echo "pghost ${PGHOST-none}"
  echo "tcp $(q "$DATABASE_URL" -c "show lc_messages" -c "show timezone" -c "show max_connections" -c "show fsync" | tr "\n" " ")"
  echo "wrong password $(q "postgres://leakpool:wrong@$at" -c "select 1" 2>&1)"
  password=${DATABASE_URL#*leakpool:} password=${password%@*}
  echo "socket $(PGPASSWORD=$password q -h "$LEAKPOOL_TEST_SOCKET_DIR" -p "$port" -U leakpool postgres -c "select inet_server_addr() is null")"
  echo "socket without $(q -w -h "$LEAKPOOL_TEST_SOCKET_DIR" -p "$port" -U leakpool postgres -c "select 1" 2>&1)"
  if [ -n "${LEAKPOOL_TEST_CERTS-}" ]; then
    c=$LEAKPOOL_TEST_CERTS
    for host in localhost 127.0.0.1; do
      echo "verify $host $(q "host=$host hostaddr=127.0.0.1 port=$port user=leakpool_cert dbname=postgres sslmode=verify-full \
        sslrootcert=$c/ca.crt sslcert=$c/client.crt sslkey=$c/client.key" -c "select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()" 2>&1)"
    done
    echo "other ca $(q "$DATABASE_URL?sslmode=verify-ca&sslrootcert=$c/other-ca.crt" -c "select 1" 2>&1)"
  fi'
PGHOST=nowhere.invalid "$with" sh -c "$look" >"$TMPDIR/second" <&- &
second=$!
"$with" sh -c "$look" >"$out"
wait "$second"
check "two at once have a server each" [ "$(cat "$out" "$TMPDIR/second" | grep '^port ' | sort -u | wc -l)" = 2 ]
for out in "$out" "$TMPDIR/second"; do
  check "PG* variables are gone" has '^pghost none$'
  check "TCP with the password, settings as promised" has '^tcp C UTC 200 off $'
  check "a wrong password is refused" has '^wrong password .*password authentication failed'
  check "the unix socket works with the password" has '^socket t$'
  check "the unix socket asks for it" has '^socket without .*no password supplied'
  if command -v openssl >/dev/null; then
    check "TLS: the server's certificate is for localhost" has '^verify localhost t|/CN=leakpool_cert$'
    check "TLS: … and for 127.0.0.1; the client's logs in" has '^verify 127.0.0.1 t|/CN=leakpool_cert$'
    check "TLS: a stranger's CA does not verify" has '^other ca .*certificate verify failed'
  fi
done
out=$TMPDIR/out

# --- ends that nobody planned -----------------------------------------------------------------------------------------
in_background
kill -KILL "$command"
wait "$wrapper" 2>/dev/null
check "CMD killed: status 137" [ $? = 137 ]
check "CMD killed: the server has gone" gone "$server"

for signal in INT TERM; do
  in_background
  kill -s "$signal" "$wrapper"
  wait "$wrapper"
  check "$signal: its status is CMD's" [ $? = "$((128 + $(kill -l "$signal")))" ]
  check "$signal: CMD has gone" gone "$command"
  check "$signal: the server has gone" gone "$server"
done
check "no directory is left after all these" scratch_is_empty

if setpriv --pdeathsig=INT true 2>/dev/null; then
  in_background
  kill -KILL "$wrapper"
  wait "$wrapper" 2>/dev/null
  check "with-postgres killed: the server goes too" eventually gone "$server"
  kill "$command"
  rm -rf "$TMPDIR"/leakpool.*
fi

# --- no server of its own ---------------------------------------------------------------------------------------------
# shellcheck disable=SC2016 # for the inner shell
DATABASE_URL=postgres://theirs/db PGHOST=theirs "$with" sh -c 'echo "$DATABASE_URL $PGHOST ${LEAKPOOL_TEST_PG_BIN-none}"' >"$out"
check "DATABASE_URL is respected" has '^postgres://theirs/db theirs none$'
LEAKPOOL_TEST_PG_BIN=$TMPDIR "$with" true 2>"$out"
check "no binaries: a failure" [ $? = 1 ]
check "no binaries: one line says what to do" has 'scripts/ensure-postgres'

# --- with-pgbouncer ---------------------------------------------------------------------------------------------------
if (PATH=$PATH:/usr/sbin && command -v pgbouncer >/dev/null); then
  # shellcheck disable=SC2016 # for the inner shell
  "$with" "$here/with-pgbouncer" sh -c '
    "$LEAKPOOL_TEST_PG_BIN/psql" -XqtA "$PGBOUNCER_URL" -c "select 40 + 2"
    "$LEAKPOOL_TEST_PG_BIN/psql" -XqtA "${PGBOUNCER_URL%/*}/pgbouncer" -c "show config" | grep "^pool_mode"
    exit 9' >"$out"
  check "with-pgbouncer: CMD's status is returned through both" [ $? = 9 ]
  check "with-pgbouncer: a query gets through" has '^42$'
  check "with-pgbouncer: transaction mode" has '^pool_mode|transaction'
  check "with-pgbouncer: nothing is left" scratch_is_empty
  # shellcheck disable=SC2016 # for the inner shell
  "$with" sh -c '
    "$LEAKPOOL_TEST_PG_BIN/psql" -Xq "$DATABASE_URL" -c "create role \"a b\" login password '"'p@ss:/%'"'"
    export DATABASE_URL="postgresql://a%20b:p%40ss%3A%2F%25@${DATABASE_URL#*@}?sslmode=require"
    exec "$1" sh -c "exec \"\$LEAKPOOL_TEST_PG_BIN/psql\" -XqtA \"\$PGBOUNCER_URL\" -c \"select current_user\""
    ' sh "$here/with-pgbouncer" >"$out" 2>&1
  check "with-pgbouncer: a URL with escapes and a query" has '^a b$'
  DATABASE_URL=nonsense:secret "$here/with-pgbouncer" true 2>"$out"
  check "with-pgbouncer: another form of DSN is refused" [ $? = 1 ]
  check "with-pgbouncer: … without showing it" eval '! has secret'
else
  echo "test-with-postgres: with-pgbouncer skipped, there is no pgbouncer"
fi

echo "test-with-postgres: $checks checks, $failed failed ($bin)"
[ "$failed" = 0 ]
