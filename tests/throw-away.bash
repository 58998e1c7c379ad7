# shellcheck shell=bash
# What with-postgres and with-pgbouncer share: a scratch directory, another user for the server when root, a free port,
# a server that ends when we end, and a command that keeps its terminal, its signals and its status. Sourced; starts nothing.

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# --- who runs the server, and where ----------------------------------------------------------------------------------

# Sets `as` (the words that start a server) and `owner` (its user). Servers refuse root. A server gets its own session, so
# that Ctrl-C reaches only the command, and a signal ($1) from the kernel should we be killed without a chance to clean up.
choose_user() {
  as=() owner=$(id -un)
  if [ "$(id -u)" = 0 ]; then
    command -v setpriv >/dev/null || die "needs setpriv (util-linux) to run a server as another user than root"
    owner=postgres
    id -u "$owner" >/dev/null 2>&1 || owner=nobody
    as=(setpriv "--reuid=$(id -u "$owner")" "--regid=$(id -g "$owner")" --clear-groups "--pdeathsig=$1")
  elif setpriv "--pdeathsig=$1" true 2>/dev/null; then
    as=(setpriv "--pdeathsig=$1")
  fi
  command -v setsid >/dev/null && as=(setsid "${as[@]}")
  true
}

# Sets `dir`: a new directory, 0700, owned by `owner`. The server's user must get there (a TMPDIR under /root is closed to
# it), and the name must fit into a unix socket's 107 bytes and into configuration files unquoted.
make_dir() {
  local base
  for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    case $base in *[!A-Za-z0-9/._-]*) continue ;; esac
    [ "${#base}" -le 60 ] || continue
    dir=$(mktemp -d "${base%/}/leakpool.XXXXXX" 2>/dev/null) || continue
    chown "$owner" "$dir" && "${as[@]}" test -w "$dir" && return
    rm -rf "$dir"
  done
  die "no temporary directory that $owner may write to"
}

# Prints a port that nobody listens on, below the range from which the kernel takes ports for outgoing connections.
# Somebody may take it before the server does: whoever calls tries again when the start fails.
free_port() {
  local port
  while :; do
    port=$((10240 + (RANDOM * 32768 + RANDOM) % 22000))
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# --- the server's life -----------------------------------------------------------------------------------------------

# start LOG CMD…: starts a server in the background, sets `server`. CMD must not fork away: its pid is how it is stopped.
start() {
  local log=$1
  shift
  # From the scratch directory: the server's user may be unable to read ours.
  (cd "$dir" && exec "${as[@]}" "$@") >"$log" 2>&1 </dev/null &
  server=$!
}

# stop SIGNAL…: sends each in turn, waiting five seconds between, until the server has gone; KILL at last.
stop() {
  local signal i
  [ -n "${server:-}" ] || return 0
  for signal in "$@" KILL; do
    kill -s "$signal" "$server" 2>/dev/null
    for ((i = 0; i < 250; i++)); do
      kill -0 "$server" 2>/dev/null || { server= && return; }
      sleep 0.02
    done
  done
}

# await CHECK…: until CHECK succeeds; fails when the server has gone or 30 seconds have passed.
await() {
  local limit=$((SECONDS + 30))
  until "$@"; do
    kill -0 "$server" 2>/dev/null && ((SECONDS < limit)) || return 1
    sleep 0.02
  done
}

# --- the command -----------------------------------------------------------------------------------------------------

# Runs the command and returns its status. It runs in the background, because bash would otherwise sit on a TERM until it
# ends, but with our standard input and with INT and QUIT restored, which bash has background jobs ignore.
run() {
  local status='' code
  { : <&0; } 2>/dev/null || exec </dev/null
  (
    trap - INT QUIT TERM HUP
    exec "$@"
  ) <&0 &
  command=$!
  trap 'signalled=1; kill -INT "$command" 2>/dev/null' INT
  trap 'signalled=1; end_command' TERM HUP
  while :; do
    signalled=
    wait "$command" 2>/dev/null # where bash would write a line about a killed job
    code=$?
    # 127 after an interrupted wait: its status had been collected already.
    [ "$code" = 127 ] && [ -n "$status" ] || status=$code
    [ -n "$signalled" ] || return "$status"
    # A signal ends the wait, not the command: wait again. But if both got it at once (Ctrl-C), bash may have reaped the
    # command and jumped away before noting it. It then believes that the command runs, and would wait for ever.
    kill -0 "$command" 2>/dev/null && continue
    # (No command substitution here: bash 5.2 stumbles over a trap that runs in the middle of one.)
    jobs -rp | grep -qx "$command" && return "$status"
  done
}

# We were told to end: so must the command, within ten seconds.
end_command() {
  local i
  kill -TERM "$command" 2>/dev/null
  for ((i = 0; i < 200; i++)); do
    kill -0 "$command" 2>/dev/null || return
    sleep 0.05
  done
  kill -KILL "$command" 2>/dev/null
}
