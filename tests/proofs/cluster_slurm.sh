# cluster.sh's ways by Slurm: two nodes, h1 (where the controller is, too) and h2.

START_SLURM='
  touch /dev/shm/gpu{0..7}
  mkdir -p /var/spool/slurmd /var/spool/slurmctld
  cp "$0"/munge.key /etc/munge/ && chown munge: /etc/munge /etc/munge/munge.key /run/munge && chmod 700 /etc/munge
  mkdir -p /var/log/munge /var/lib/munge && chown munge: /var/log/munge /var/lib/munge
  chmod 755 /run/munge && setpriv --reuid munge --regid munge --clear-groups munged
  cp "$0"/slurm.conf "$0"/gres.conf "$0"/cgroup.conf /etc/slurm/
  [ "$(hostname)" != h1 ] || slurmctld
  slurmd
'

start_slurm() {
  head -c 1024 /dev/urandom >"$WORK/munge.key"
  chmod 400 "$WORK/munge.key"
  # As many GPUs as the script asks for, in name only.
  echo 'Name=gpu File=/dev/shm/gpu[0-7]' >"$WORK/gres.conf"
  echo 'CgroupPlugin=cgroup/v1' >"$WORK/cgroup.conf"
  cat >"$WORK/slurm.conf" <<END
ClusterName=proof
SlurmctldHost=h1
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=20
NodeName=h[1-2] CPUs=8 RealMemory=4000 Gres=gpu:8
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE
END
  on 1 bash -c "$START_SLURM" "$WORK"
  on 2 bash -c "$START_SLURM" "$WORK"
  wait_for 30 "Slurm's nodes" on 1 bash -c '[ "$(sinfo -h -t idle -o %D)" = 2 ]'
}

# As docs/clusters.md prints it, with one task a node in place of eight.
submit() {
  on 1 sbatch --parsable --time 24:00:00 --ntasks-per-node 1 --cpus-per-task 1 --output "$SHARED/job.txt" \
    launch/cluster/pretrain.slurm "${TRAIN[@]}" --data "$SHARED/shards" --output "$SHARED/run"
}

state_of() { on 1 scontrol show job "$1" -o | grep -o 'JobState=[A-Z]*' | cut -d= -f2; }
is_in_state() { case " $2 " in *" $(state_of "$1") "*) ;; *) return 1 ;; esac; }

# The script with torchrun in the ranks' place, as its head says; two ranks a node would be too many here.
way_slurm_lost() {
  undisturbed_run
  hosts_for_training 1 2
  start_slurm
  {
    sed '/^srun/,$d' "$ROOT/launch/cluster/pretrain.slurm"
    sed -n 's/^#   \(srun --no-kill\|  --rdzv\)/\1/p' "$ROOT/launch/cluster/pretrain.slurm"
  } | sed 's/--nproc-per-node 8/--nproc-per-node 1/' >"$SHARED/elastic.slurm"
  local job before
  job=$(on 1 sbatch --parsable --time 24:00:00 --no-kill --ntasks-per-node 1 --cpus-per-task 1 \
    --output "$SHARED/job.txt" "$SHARED/elastic.slurm" "${TRAIN[@]}" --data "$SHARED/shards" --output "$SHARED/run")
  lose_host_2
  before=$(newest_step)
  wait_for 300 "the other node to go on" goes_on_after "$before" || { cat "$SHARED/job.txt"; exit 1; }
  tell "torchrun, a node cut off at step $before: the other goes on alone after $((SECONDS - LOST)) s"
  wait_for 300 "the job's end" is_in_state "$job" "COMPLETED FAILED CANCELLED NODE_FAIL"
  cat "$SHARED/job.txt"
  files same-losses "$SHARED/run" "$DATA/run"
  tell "the same losses"
}

way_slurm() {
  undisturbed_run
  hosts_for_training 1 2
  start_slurm
  local job
  job=$(submit)
  wait_for 240 "a checkpoint" has_checkpoint
  on 1 scancel --signal=TERM "$job" # as Slurm does two minutes before the time limit
  wait_for 60 "the job to go back into the queue" is_in_state "$job" PENDING
  grep 'stopped on request' "$SHARED/job.txt"
  tell "2 nodes: stopped on request at step $(newest_step), and requeued"
  on 1 scontrol update "JobId=$job" StartTime=now
  wait_for 200 "the job's end" is_in_state "$job" "COMPLETED FAILED CANCELLED NODE_FAIL"
  cat "$SHARED/job.txt"
  is_in_state "$job" COMPLETED
  files same-bits "$SHARED/run" "$DATA/run"
  tell "it resumed by itself: the bits of 2 ranks on one machine"
}
