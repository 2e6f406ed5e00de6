#!/usr/bin/env bash
# Build the image, bring up compose, ask POST /ner, and ask Prometheus for the service's histograms. Exits non-zero on
# the first thing that is not so, and always takes compose down again.
#
#   docker/verify.sh                      on this tree, whose models/ must hold the bundles
#   KEEP=1 docker/verify.sh               leave compose up
#   MUST_FIND="" docker/verify.sh         do not insist on entities (stand-in models)
#
# ONOMA_PORT (8000) and PROMETHEUS_PORT (9090) pick the ports on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

export ONOMA_PORT=${ONOMA_PORT:-8000} PROMETHEUS_PORT=${PROMETHEUS_PORT:-9090}
MUST_FIND=${MUST_FIND-Angela Merkel,Siemens,München}
if docker compose version >/dev/null 2>&1; then
  compose() { docker compose "$@"; }
else
  export DOCKER_BUILDKIT=0
  compose() { docker-compose "$@"; }
fi
json() { python3 -c "import json, sys; d = json.load(sys.stdin); $1"; }
say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; compose logs --tail 40 >&2 || true; exit 1; }
finish() { [ -n "${KEEP:-}" ] || compose down -v --remove-orphans -t 45 >/dev/null 2>&1 || true; }
trap finish EXIT

[ -f models/student/bundle.json ] || { echo "no bundle in models/student" >&2; exit 1; }

say "docker build"
docker build -q -f docker/Dockerfile -t onoma:latest . || fail "docker build"
docker image ls onoma:latest --format '{{.Repository}}:{{.Tag}} {{.Size}}'

say "what is in the image"
docker run --rm --network none --read-only onoma:latest sh -c 'id; python --version; du -sh /opt/onoma /models; python -c "
import importlib.util as u
present = [name for name in (\"torch\", \"transformers\", \"distill\", \"export\", \"locust\") if u.find_spec(name)]
assert not present, present
print(\"absent: torch, transformers, distill, export, locust\")"; ! touch /models/x 2>/dev/null && echo "models not writable"' \
  || fail "the image's content"

say "compose up"
compose up -d || fail "compose up"
container=$(compose ps -q onoma)
for _ in $(seq 60); do
  health=$(docker inspect -f '{{.State.Health.Status}}' "$container")
  [ "$health" = healthy ] && break
  sleep 2
done
[ "$health" = healthy ] || fail "onoma is $health"
echo "onoma is $health, user $(docker inspect -f '{{.Config.User}}' "$container"), read-only $(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$container")"
curl -fsS "http://127.0.0.1:$ONOMA_PORT/readyz" || fail "/readyz"
echo

say "POST /ner"
answer=$(curl -fsS "http://127.0.0.1:$ONOMA_PORT/ner" -H 'content-type: application/json' \
  -d '{"text":"Angela Merkel visited Siemens in München."}') || fail "POST /ner"
echo "$answer"
MUST_FIND="$MUST_FIND" json '
import os
found = [e["text"] for e in d["results"][0]["entities"]]
missing = [name for name in os.environ["MUST_FIND"].split(",") if name and name not in found]
assert not missing, f"not found: {missing}"' <<<"$answer" || fail "the answer"
for model in student teacher auto; do
  for _ in $(seq 5); do
    curl -fsS -o /dev/null "http://127.0.0.1:$ONOMA_PORT/ner" -H 'content-type: application/json' \
      -d "{\"text\":\"Wangari Maathai alizaliwa Nyeri.\",\"model\":\"$model\"}" || fail "POST /ner with model $model"
  done
done

say "Prometheus"
query() { curl -fsS -G "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query" --data-urlencode "query=$1"; }
wait_for() { # wait_for QUERY: until its first value is above 0
  for _ in $(seq 30); do
    query "$1" 2>/dev/null | json 'r = d["data"]["result"]; sys.exit(not (r and float(r[0]["value"][1]) > 0))' 2>/dev/null && return
    sleep 2
  done
  fail "Prometheus has nothing for $1"
}
show() { echo "$1"; query "$1" | json 'print(*("  %s %s" % (r["metric"], r["value"][1]) for r in d["data"]["result"]), sep="\n")'; }
wait_for 'up{job="onoma"}'
show 'up{job="onoma"}'
wait_for 'sum(onoma_stage_seconds_count{model="teacher",stage="total"})'
show 'onoma_stage_seconds_count{stage="total"}'
show 'histogram_quantile(0.95, sum by (le, model, stage) (onoma_stage_seconds_bucket))'
show 'onoma_stage_seconds_bucket{model="student",stage="infer",le=~"0.005|0.01|.Inf"}'

say "memory, and the stop"
docker stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.CPUPerc}}'
began=$SECONDS
compose stop -t 45 onoma >/dev/null 2>&1 || fail "compose stop"
echo "stopped in $((SECONDS - began)) s with status $(docker inspect -f '{{.State.ExitCode}}' "$container")"

say "all good"
