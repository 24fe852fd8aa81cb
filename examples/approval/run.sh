#!/bin/sh
# An approval gate: sh examples/approval/run.sh
set -eu
here=$(dirname "$0")
. "$here/../job.sh"

job approval-step /echo
workflow "$here/workflow.yaml" release

run=$(strait -q workflows trigger release --set version=1.2.3 -o name)
until approval=$(strait approvals list --template '{{workflow_run_id}} {{id}}' | sed -n "s/^$run //p") && [ -n "$approval" ]; do
    sleep 0.2
done
strait workflow-runs explain "$run"
strait approvals approve "$approval" --as ada --comment "looks right"
strait workflow-runs watch "$run"
