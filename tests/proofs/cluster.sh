#!/usr/bin/env bash
# Runs every way of docs/clusters.md on "hosts" of this machine, and breaks them: each host is a set of Linux
# namespaces, with a network, processes, disks, name and sshd of its own.
#
#   sudo tests/proofs/cluster.sh                      # all ways, about half an hour on 2 cores
#   sudo tests/proofs/cluster.sh torchrun slurm       # some of them
#
# It wants root, and these Debian packages, which it does not install:
#   apt-get install iproute2 util-linux openssh-server openssh-client rsync pdsh openmpi-bin slurm-wlm munge
#
# Prints a line for each way: ok or FAILED, seconds, and what was measured. Exits with 1 if one has failed, and
# with 3 if this machine cannot do it. Whatever it starts ends with it. KEEP=1 keeps what was printed and made.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
. "$ROOT/tests/proofs/cluster_hosts.sh"
WAYS=(unshared store hostfile hostfile-lost torchrun torchrun-lost mpirun slurm slurm-lost ray ray-killed ray-cut ray-added ray-up)
PARTITIONS=12
STEPS=${STEPS:-120}

main() {
  local ways=("$@") failed=0 way
  [ $# -gt 0 ] || ways=("${WAYS[@]}")
  for way in "${ways[@]}"; do
    case " ${WAYS[*]} " in *" $way "*) ;; *) echo "no way $way: there are ${WAYS[*]}"; exit 2 ;; esac
  done
  check_needs "${ways[*]}"
  DATA=$(mktemp -d /tmp/cluster-data.XXXXXX)
  trap 'stop_way; rm -rf "$DATA"' EXIT
  trap 'exit 130' INT TERM
  "$ROOT/.venv/bin/python" "$ROOT/tests/proofs/cluster_files.py" make "$DATA" || exit 1
  for way in "${ways[@]}"; do
    run_way "$way" # by itself: after it, `||` would have the way go on when a command fails
    [ $? = 0 ] || failed=1
  done
  exit $failed
}

check_needs() {
  local missing=() program
  case $ROOT in /home/ubuntu/*) echo "the hosts have a /home/ubuntu of their own: put the project elsewhere"; exit 3 ;; esac
  [ "$(id -u)" = 0 ] || { echo "cluster.sh makes namespaces: run it as root"; exit 3; }
  local needs="ip nsenter unshare ssh ssh-keygen /usr/sbin/sshd"
  case "$1" in *hostfile*) needs+=" pdsh" ;; esac
  case "$1" in *mpirun*) needs+=" mpirun" ;; esac
  case "$1" in *slurm*) needs+=" slurmctld slurmd munged" ;; esac
  case "$1" in *ray-up*) needs+=" rsync" ;; esac
  for program in $needs; do command -v "$program" >/dev/null || missing+=("$program"); done
  [ ${#missing[@]} = 0 ] || { echo "not installed: ${missing[*]} (see the head of this file)"; exit 3; }
  if ! ip netns add "$NAME-try" 2>/dev/null; then
    echo "no namespaces: this machine does not let root make them (a container without CAP_SYS_ADMIN?)"
    exit 3
  fi
  ip netns del "$NAME-try"
}

# A way runs in a shell of its own, which ends at the first command that fails, and takes its hosts along.
run_way() {
  local started=$SECONDS code
  WORK=$(mktemp -d /tmp/cluster.XXXXXX)
  SHARED=$WORK/shared
  (
    trap hosts_close EXIT
    trap 'exit 143' TERM
    set -e
    exec 3>"$WORK/told" </dev/null
    hosts_open
    "way_${1//-/_}"
  ) >"$WORK/printed" 2>&1 &
  WAY=$!
  wait "$WAY"
  code=$?
  WAY=
  if [ $code = 0 ]; then
    printf '%-14s ok      %4d s  %s\n' "$1" $((SECONDS - started)) "$(paste -sd ';' "$WORK/told" | sed 's/;/; /g')"
  else
    printf '%-14s FAILED  %4d s\n' "$1" $((SECONDS - started))
    tail -n 40 "$WORK/printed" | sed 's/^/    /'
  fi
  [ -n "${KEEP:-}" ] && echo "    $WORK" || rm -rf "$WORK"
  return $code
}

# What a way is waiting for ends with its hosts; then it can clean up.
stop_way() {
  [ -n "${WAY:-}" ] || return 0
  kill -TERM "$WAY" 2>/dev/null
  kill -9 $(cat "$WORK"/init.* 2>/dev/null) 2>/dev/null
  wait "$WAY"
  rm -rf "$WORK"
}

tell() { echo "$*" >&3; }
files() { "$ROOT/.venv/bin/python" "$ROOT/tests/proofs/cluster_files.py" "$@"; }
refuse() { echo "$*"; exit 1; }

# --- training ---------------------------------------------------------------------------------------------

TRAIN=(--size micro --steps $STEPS --global-batch-tokens 768 --micro-batch 1 --warmup-steps 2 --precision fp32
  --learning-rate 5e-4 --checkpoint-every 20 --evaluate-every 100 --evaluation-tokens 500)

# What the same options give on one machine with two ranks, and nothing in the way.
undisturbed_run() {
  [ -d "$DATA/run" ] || (
    . "$WORK/environment"
    cd "$ROOT"
    torchrun --standalone --nproc-per-node 2 launch/pretrain.py "${TRAIN[@]}" --data "$DATA/shards" --output "$DATA/run"
  )
}

hosts_for_training() {
  local n
  cp -r "$DATA/shards" "$SHARED/shards"
  for n in "$@"; do
    host_up "$n"
    echo "$ADDRESS$n slots=1" >>"$SHARED/hostfile"
  done
}

has_checkpoint() { compgen -G "$SHARED/run/step_*/complete" >/dev/null; }
newest_step() { ls -d "$SHARED"/run/step_* | tail -n 1 | sed 's/.*step_0*//'; }

by_hostfile() {
  on 1 env PDSH_SSH_ARGS_APPEND='-o ServerAliveInterval=10' \
    deepspeed --hostfile "$SHARED/hostfile" launch/pretrain.py "${TRAIN[@]}" --data "$SHARED/shards" "$@"
}

way_unshared() {
  hosts_for_training 1 2
  if by_hostfile --output /home/ubuntu/run; then refuse "an output that is not shared was taken"; fi
  grep -q 'is not shared: rank 1 does not see what rank 0 writes there' "$WORK/printed"
  ! grep -q 'loss' "$WORK/printed" || refuse "it began to train"
  tell "refused before the first step"
}

way_hostfile() {
  undisturbed_run
  hosts_for_training 1 2
  by_hostfile --output "$SHARED/run"
  files same-bits "$SHARED/run" "$DATA/run"
  tell "2 hosts: the bits of 2 ranks on one machine"
  # Half of a run on two hosts, the rest on three, and the other way round.
  rm -rf "$SHARED/run"
  stop_at 40
  host_up 3
  echo "${ADDRESS}3 slots=1" >>"$SHARED/hostfile"
  stop_at 80
  sed -i 2,3d "$SHARED/hostfile"
  by_hostfile --output "$SHARED/run"
  files same-losses "$SHARED/run" "$DATA/run"
  tell "2, then 3, then 1 hosts: the losses of 2 ranks"
}

# Train until some step, and ask the ranks to stop.
stop_at() {
  by_hostfile --output "$SHARED/run" &
  wait_for 400 "step $1" test -e "$SHARED/run/step_$(printf %08d "$1")/complete"
  on 1 pkill -TERM -f launch/pretrain.py.*--output
  wait $! && refuse "the launcher says that all is done" || true
}

# A host loses its network or power in the middle of a run: nobody is told.
lose_host_2() {
  wait_for 240 "a checkpoint" has_checkpoint
  sleep 1
  cut_off 2
  LOST=$SECONDS
}

way_hostfile_lost() {
  undisturbed_run
  hosts_for_training 1 2
  by_hostfile --output "$SHARED/run" &
  local launcher=$!
  lose_host_2
  wait_for 120 "a rank to speak" grep -q 'another rank has gone' "$WORK/printed"
  tell "a host cut off: a rank says so after $((SECONDS - LOST)) s"
  wait $launcher && refuse "the launcher says that all is done" || true
  tell "the launcher ends after $((SECONDS - LOST)) s"
  host_down 2
  sed -i 2d "$SHARED/hostfile"
  by_hostfile --output "$SHARED/run"
  files same-losses "$SHARED/run" "$DATA/run"
  tell "the same command on the other host: the same losses"
}

by_torchrun() {
  on "$1" torchrun --nnodes 1:2 --nproc-per-node 1 --max-restarts 3 --rdzv-backend c10d \
    --rdzv-endpoint h1:29400 --rdzv-id run launch/pretrain.py "${TRAIN[@]}" --data "$SHARED/shards" --output "$SHARED/run"
}

way_torchrun() {
  undisturbed_run
  hosts_for_training 1 2
  by_torchrun 1 &
  local first=$!
  by_torchrun 2
  wait $first
  files same-bits "$SHARED/run" "$DATA/run"
  tell "2 hosts: the bits of 2 ranks on one machine"
}

way_torchrun_lost() {
  undisturbed_run
  hosts_for_training 1 2
  by_torchrun 1 &
  local first=$!
  by_torchrun 2 &
  lose_host_2
  local before
  before=$(newest_step)
  wait_for 300 "the other host to go on" goes_on_after "$before"
  tell "a host cut off at step $before: the other goes on alone after $((SECONDS - LOST)) s"
  wait $first
  files same-losses "$SHARED/run" "$DATA/run"
  tell "the same losses"
}

goes_on_after() { [ "$(newest_step)" -gt $(($1 + 20)) ]; }

# Hosts that share nothing train from and to an S3 server on a third. Both lose their power, and two others go on.
way_store() {
  undisturbed_run
  hosts_for_training 1 2
  host_up 3
  cat >>"$WORK/environment" <<END
export AWS_ENDPOINT_URL=http://${ADDRESS}3:9000 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=us-east-1
END
  on 3 python -m moto.server -H 0.0.0.0 -p 9000 >"$WORK/store" 2>&1 &
  wait_for 60 "the store" on 1 bash -c "</dev/tcp/${ADDRESS}3/9000"
  on 1 python tests/proofs/cluster_files.py put "$SHARED/shards" s3://bucket/shards
  rm -r "$SHARED/shards"
  to_store 1 &
  local first=$!
  to_store 2 &
  local second=$!
  wait_for 400 "a checkpoint on the store" grep -q 'sent s3://bucket/run/step_00000040' "$WORK/printed"
  host_down 1
  host_down 2
  wait $first $second || true
  tell "2 hosts without a shared disk lost their power after step 40"
  host_up 1
  host_up 2
  to_store 1 &
  first=$!
  to_store 2
  wait $first
  grep -q 'resuming after step' "$WORK/printed" || refuse "it began anew"
  on 1 python tests/proofs/cluster_files.py get s3://bucket/run "$SHARED/run"
  files same-bits "$SHARED/run" "$DATA/run"
  tell "2 empty ones went on: the bits of 2 ranks on one machine"
}

to_store() {
  on "$1" torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint h1:29400 --rdzv-id run \
    launch/pretrain.py "${TRAIN[@]}" --data s3://bucket/shards --output s3://bucket/run
}

way_mpirun() {
  undisturbed_run
  hosts_for_training 1 2
  on 1 mpirun --allow-run-as-root --host "${ADDRESS}1,${ADDRESS}2" -x MASTER_ADDR=${ADDRESS}1 -x MASTER_PORT=29500 \
    python launch/pretrain.py "${TRAIN[@]}" --data "$SHARED/shards" --output "$SHARED/run"
  files same-bits "$SHARED/run" "$DATA/run"
  tell "2 hosts: the bits of 2 ranks on one machine"
}

. "$ROOT/tests/proofs/cluster_slurm.sh"
. "$ROOT/tests/proofs/cluster_ray.sh"

main "$@"
