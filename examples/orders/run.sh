#!/bin/sh
# An order flow driven by events: sh examples/orders/run.sh
set -eu
here=$(dirname "$0")
. "$here/../job.sh"

job orders-step /echo
workflow "$here/workflow.yaml" order

order=$(date +%s)-$$
run=$(strait -q workflows trigger order --set order="\"$order\"" -o name)
# It does not matter whether the event or the step that waits for it comes first.
strait events send "order:$order:paid" --payload '{"amount": 42}'
strait workflow-runs watch "$run"
strait workflow-runs steps get "$run" ship --jq .output
