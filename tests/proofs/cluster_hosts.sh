# Hosts for cluster.sh, which reads this file: each with a network, processes, disks, name and sshd of its own.
#
#   host_up N       starts host N, which is 10.97.0.N to the others, and called hN
#   on N COMMAND    runs a command there, as its user ubuntu (who is root, as everyone here)
#   cut_off N, mend N  takes its network away, as a broken link does: no connection is closed; and gives it back
#   host_down N     ends all its processes at once, and takes its network away
#
# A host's own disk is /home/ubuntu, /tmp, /run, /var and /dev/shm. All hosts see $SHARED and this project.

ADDRESS=10.97.0.
NAME=outbound$$ # of namespaces, so that two proofs do not meet
declare -A INIT=()

hosts_open() {
  mkdir -p "$SHARED" "$WORK/ssh"
  ssh-keygen -q -t ed25519 -N '' -f "$WORK/ssh/host"
  ssh-keygen -q -t ed25519 -N '' -f "$WORK/ssh/id_ed25519"
  printf 'StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nConnectTimeout 60\n' >"$WORK/ssh/config"
  printf '127.0.0.1 localhost\n' >"$WORK/hosts"
  for n in 1 2 3 4; do echo "$ADDRESS$n h$n" >>"$WORK/hosts"; done
  { echo 'ubuntu:x:0:0::/home/ubuntu:/bin/bash'; grep -v ^ubuntu: /etc/passwd; } >"$WORK/passwd"
  write_host_files
  ip netns add "$NAME-switch"
  ip -n "$NAME-switch" link add switch type bridge
  ip -n "$NAME-switch" link set switch up
}

# What a user has in the environment on each host: this project's Python first, and no GPU.
write_host_files() {
  cat >"$WORK/environment" <<END
export HOME=/home/ubuntu USER=ubuntu LOGNAME=ubuntu SHELL=/bin/bash LANG=C.UTF-8 TERM=dumb
export PATH=$ROOT/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONPATH=$ROOT CUDA_VISIBLE_DEVICES= DS_ACCELERATOR=cpu OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
END
  cat >"$WORK/sshd_config" <<END
HostKey $WORK/ssh/host
AuthorizedKeysFile $WORK/ssh/id_ed25519.pub
PermitRootLogin yes
StrictModes no
MaxStartups 100
LoginGraceTime 0
UsePAM no
PidFile none
SetEnv $(sed 's/^export //' "$WORK/environment" | tr '\n' ' ')
END
  cat >"$WORK/init" <<'END'
# The first process of a host: mounts its disks, starts its sshd, and takes leave of what ends in it.
number=$1 work=$2 root=$3
mount --make-rprivate /
read -r pid _ </proc/self/stat
hostname "h$number"
for folder in /run /var/tmp /var/spool /var/log /dev/shm /etc/slurm /etc/munge; do
  mount -t tmpfs -o mode=1777 tmpfs "$folder" || exit 1
done
mount -t proc proc /proc
mount --bind "$work/hosts" /etc/hosts
mount --bind "$work/passwd" /etc/passwd
# A home of the host's own beside those of this machine, in one of which the project may be.
mkdir -p /run/sshd /run/munge /run/homes /run/tmp
mount --rbind /home /run/homes
mount -t tmpfs tmpfs /home
for folder in /run/homes/*/; do
  home=/home/$(basename "$folder")
  [ "$home" = /home/ubuntu ] || { mkdir "$home" && mount --rbind "$folder" "$home"; }
done
mkdir -p /home/ubuntu/.ssh
cp /etc/skel/.bashrc /home/ubuntu/
cp "$work"/ssh/id_ed25519 "$work"/ssh/config /home/ubuntu/.ssh/
chmod 700 /home/ubuntu/.ssh
chmod 600 /home/ubuntu/.ssh/*
# Its own /tmp, in which the folder of the proof is still where it was.
mkdir -p "/run/tmp$work"
mount --bind "$work" "/run/tmp$work"
case $root in /tmp/*) mkdir -p "/run/tmp$root" && mount --bind "$root" "/run/tmp$root" ;; esac
mount --rbind /run/tmp/tmp /tmp
chmod 1777 /tmp
/usr/sbin/sshd -f "$work/sshd_config" -E "$work/sshd.$number"
echo "$pid" >"$work/init.$number"
while :; do sleep 1000 & wait $!; done
END
}

host_up() {
  local n=$1 host=$NAME-h$1
  rm -f "$WORK/init.$n"
  ip netns add "$host"
  ip -n "$host" link add eth0 type veth peer name "h$n" netns "$NAME-switch"
  ip -n "$host" addr add "$ADDRESS$n/24" dev eth0
  ip -n "$host" link set lo up
  ip -n "$host" link set eth0 up
  ip -n "$NAME-switch" link set "h$n" master switch up
  ip netns exec "$host" unshare --mount --uts --ipc --pid --fork --kill-child \
    bash "$WORK/init" "$n" "$WORK" "$ROOT" </dev/null >"$WORK/host.$n" 2>&1 &
  wait_for 20 "host $n" test -s "$WORK/init.$n" || { cat "$WORK/host.$n"; return 1; }
  INIT[$n]=$(cat "$WORK/init.$n")
}

on() {
  local n=$1
  shift
  nsenter -t "${INIT[$n]}" -m -u -i -n -p -- \
    env -i bash -c '. "$0"; cd "$1"; shift; "$@"' "$WORK/environment" "${FOLDER:-$ROOT}" "$@"
}

cut_off() { ip -n "$NAME-switch" link set "h$1" down; }
mend() { ip -n "$NAME-switch" link set "h$1" up; }

host_down() {
  [ -n "${INIT[$1]:-}" ] || return 0
  kill -9 "${INIT[$1]}" 2>/dev/null || true
  unset "INIT[$1]"
  ip netns del "$NAME-h$1"
}

hosts_close() {
  local n
  for n in "${!INIT[@]}"; do host_down "$n"; done
  for n in $(ip netns list | grep -o "^$NAME-[^ ]*"); do ip netns del "$n"; done
}

# wait_for SECONDS WHAT COMMAND: until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "waited in vain for $what"; return 1; }
    sleep 0.2
  done
}
