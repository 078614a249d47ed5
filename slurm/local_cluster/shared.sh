# Functions of `up` and `down`: find the cluster's folder and its processes, and stop them.

PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { echo "local_cluster: $*" >&2; }

lacks() {
  say "$@"
  exit 2
}

mark="# Written by slurm/local_cluster/up, removed by down."
ours() { [ "$(head -n 1 "$folder/slurm.conf" 2>/dev/null)" = "$mark" ]; }

# The pid in a pid file, if that process is the daemon of this folder and not a later process with the same pid.
daemon() {
  local pid
  pid=$(cat "$folder/$1.pid" 2>/dev/null) && [ -n "$pid" ] &&
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$folder/" && echo "$pid"
}

# slurmd's child processes for job steps outlive it. They are found by its log, which they keep open.
step_daemons() {
  local log
  for log in /proc/[0-9]*/fd/*; do
    [ "$(readlink "$log")" != "$folder/slurmd.log" ] || cut -d/ -f3 <<<"$log"
  done 2>/dev/null | sort -u | grep -vxF "$(daemon slurmd || echo none)"
}

descendants() {
  local child
  for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do
    descendants "$child"
    echo "$child"
  done
}

stop() {  # TERM, then KILL after five seconds; a zombie has no command line
  kill "$1" 2>/dev/null || return 0
  for _ in $(seq 50); do
    [ -n "$(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline")" ] || return 0
    sleep 0.1
  done 2>/dev/null
  kill -KILL "$1" 2>/dev/null || true
}

# Stop jobs while the daemons can do it, then the daemons, then leftover processes of jobs; then delete the files.
stop_cluster() {
  local name pid left run
  export SLURM_CONF=$folder/slurm.conf
  if daemon munged >/dev/null && daemon slurmctld >/dev/null; then
    left=$(timeout 10 squeue --noheader --format=%A 2>/dev/null | sort -u) || true
    # shellcheck disable=SC2086  # several ids
    [ -z "$left" ] || timeout 10 scancel --quiet $left 2>/dev/null || true
    for _ in $(seq 60); do
      [ -n "$(timeout 10 squeue --noheader 2>/dev/null)" ] || break
      sleep 0.25
    done
  fi
  for name in slurmctld slurmd; do
    ! pid=$(daemon "$name") || stop "$pid"
  done
  for pid in $(step_daemons); do
    # shellcheck disable=SC2046  # several ids
    kill -KILL "$pid" $(descendants "$pid") 2>/dev/null || true
  done
  ! pid=$(daemon munged) || stop "$pid"
  run=$(readlink "$folder/run" || true)
  [[ "$run" != */fpdm-slurm.?????? ]] || rm -rf "$run"
  rm -rf "$folder"/{run,state,slurm.conf} "$folder"/{munged,slurmctld,slurmd}.{pid,log} "$folder/start.log"
}

folder_of() {  # the first argument, or the default folder
  realpath -m -- "${1:-$here/../../.local_cluster}"
}
