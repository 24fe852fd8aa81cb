#!/bin/sh
# An approval gate: sh examples/approval/run.sh
set -eu
here=$(dirname "$0")
. "$here/../job.sh"

job approval-step /echo
workflow "$here/workflow.yaml" release

run=$(strait -q workflows trigger release --set version=1.2.3 -o name)
# The question comes when the build has ended.
until [ "$(strait workflow-runs steps get "$run" approve --jq .status)" = waiting ]; do
    sleep 0.2
done
strait workflow-runs explain "$run"
strait approvals list
strait workflow-runs steps approve "$run" approve --as ada --comment "looks right"
strait workflow-runs watch "$run"
