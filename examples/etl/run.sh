#!/bin/sh
# An ETL with fan-out: sh examples/etl/run.sh
set -eu
here=$(dirname "$0")
. "$here/../job.sh"

job etl-step /echo
workflow "$here/workflow.yaml" nightly-etl

strait workflows graph nightly-etl
run=$(strait -q workflows trigger nightly-etl --set day="$(date +%Y-%m-%d)" -o name)
strait workflow-runs watch "$run"
strait workflow-runs steps get "$run" report --jq .output.text
