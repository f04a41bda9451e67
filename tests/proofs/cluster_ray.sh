# cluster.sh's ways by Ray: h1 is the head, h2 and h3 are workers or the machine that one submits from.

BUILD=(python pipeline/build_webtext.py --partitions $PARTITIONS)

# What a build gives on one host, and nothing in the way.
undisturbed_build() {
  cp -r "$DATA/web" "$SHARED/web"
  BUILD+=(--submissions "$SHARED/web/RS_*.zst" --warcs "$SHARED/web/pages-*.warc.gz")
  [ -d "$DATA/build" ] && return
  host_up 4
  on 4 "${BUILD[@]}" --output "$SHARED/undisturbed"
  host_down 4
  cp -r "$SHARED/undisturbed" "$DATA/build"
}

with_token() { on "$1" env RAY_AUTH_MODE=token "${@:2}"; }

make_token() {
  on "$1" ray get-auth-token --generate >/dev/null
  on "$1" cp /home/ubuntu/.ray/auth_token "$WORK/auth_token"
}

# Ray gives a node 30 seconds to start, which is little for three of them on two busy cores.
ray_start() {
  with_token "$@" && return
  with_token "$1" ray stop --force
  with_token "$@"
}

start_ray() {
  host_up 1
  make_token 1
  ray_start 1 ray start --head --dashboard-host 0.0.0.0
  local n
  for n in "$@"; do add_to_ray "$n"; done
}

add_to_ray() {
  host_up "$1"
  on "$1" install -D -m 600 "$WORK/auth_token" /home/ubuntu/.ray/auth_token
  ray_start "$1" ray start --address=h1:6379
}

builds_on() { on "$1" pgrep -f ray::_run_job; }
has_documents() { compgen -G "$1/documents/*.json" >/dev/null; }

way_ray() {
  undisturbed_build
  start_ray 2
  host_up 3
  # From a machine that is none of the cluster's, and has its token.
  on 3 install -D -m 600 "$WORK/auth_token" /home/ubuntu/.ray/auth_token
  with_token 3 ray job submit --address http://h1:8265 --working-dir . -- "${BUILD[@]}" --output "$SHARED/build"
  files same-corpus "$SHARED/build" "$DATA/build"
  tell "ray job submit from a third host: the corpus of one host"
  on 3 rm /home/ubuntu/.ray/auth_token
  if on 3 ray job submit --address http://h1:8265 --working-dir . -- true; then refuse "no token was asked for"; fi
  tell "without the token: refused"
}

# build_while KILLED COMMAND: build on two hosts, undisturbed, and again while the command happens to the second.
build_while() {
  local happens=$2 started=$SECONDS calm build
  undisturbed_build
  start_ray 2
  started=$SECONDS
  with_token 1 "${BUILD[@]}" --output "$SHARED/calm"
  calm=$((SECONDS - started))
  files same-corpus "$SHARED/calm" "$DATA/build"
  started=$SECONDS
  with_token 1 "${BUILD[@]}" --output "$SHARED/build" &
  build=$!
  wait_for 120 "documents" has_documents "$SHARED/build"
  wait_for 60 "tasks on the second host" builds_on 2
  "$happens" 2
  [ ! -e "$SHARED/build/corpus" ] || refuse "the build was done before that"
  wait $build
  files same-corpus "$SHARED/build" "$DATA/build"
  tell "$calm s undisturbed, $((SECONDS - started)) s with that host $1: the same corpus"
}

way_ray_killed() { build_while killed host_down; }
way_ray_cut() { build_while 'cut off' cut_off; }

way_ray_added() {
  undisturbed_build
  start_ray
  with_token 1 "${BUILD[@]}" --output "$SHARED/build" &
  local build=$!
  wait_for 120 "documents" has_documents "$SHARED/build"
  add_to_ray 2
  wait_for 60 "tasks on the added host" builds_on 2
  wait $build
  files same-corpus "$SHARED/build" "$DATA/build"
  tell "a host that joined in the middle took part: the same corpus"
}

# launch/cluster/ray.yaml with these hosts' addresses. Its setup installs the project from the package index;
# here it makes an environment that has this one's packages, and the copied code before them.
write_ray_yaml() {
  local site
  site=$("$ROOT/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  cat >"$SHARED/setup" <<END
cd ~/outbound
[ -d .venv ] || $ROOT/.venv/bin/python -m venv --without-pip .venv
printf '%s\n' ~/outbound "$site" >"\$(echo .venv/lib/python*/site-packages)/proof.pth"
sed "1s|.*|#!\$HOME/outbound/.venv/bin/python|" $ROOT/.venv/bin/ray >.venv/bin/ray
chmod +x .venv/bin/ray
grep -q PYTHONPATH ~/.bashrc || sed -i '1i unset PYTHONPATH' ~/.bashrc
END
  sed -e "s/head_ip: .*/head_ip: ${ADDRESS}1/" -e "s/worker_ips: .*/worker_ips: [${ADDRESS}2]/" \
    -e "s|cd outbound && python3 .*|bash $SHARED/setup|" "$ROOT/launch/cluster/ray.yaml" >"$SHARED/ray.yaml"
}

way_ray_up() {
  undisturbed_build
  write_ray_yaml
  host_up 1
  host_up 2
  host_up 3
  make_token 3
  local up="export RAY_AUTH_MODE=token RAY_UP_enable_autoscaler_v2=0; ray"
  on 3 bash -c "$up up --yes $SHARED/ray.yaml"
  wait_for 120 "the worker" on 2 pgrep -f raylet/raylet
  tell "ray up: the worker is there"
  on 3 bash -c "$up submit $SHARED/ray.yaml pipeline/build_webtext.py -- ${BUILD[*]:2} --output $SHARED/build"
  files same-corpus "$SHARED/build" "$DATA/build"
  tell "ray submit: the corpus of one host"
  on 3 bash -c "$up down --yes $SHARED/ray.yaml"
  if on 1 pgrep -f raylet/raylet; then refuse "ray down has left the head"; fi
  if on 2 pgrep -f raylet/raylet; then
    on 2 ray stop --force
    tell "ray down left a raylet on the worker; ray stop --force ended it"
    ! on 2 pgrep -f raylet/raylet || refuse "ray stop --force has left it"
  else
    tell "ray down: nothing is left"
  fi
}
