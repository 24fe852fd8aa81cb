#!/bin/sh
# A saga: sh examples/saga/run.sh
set -eu
here=$(dirname "$0")
. "$here/../job.sh"

job saga-step /echo
job saga-fail /fail --max-attempts 1
workflow "$here/workflow.yaml" book-trip

run=$(strait -q workflows trigger book-trip -o name)
# It does not complete, and so the watch ends with 9.
strait workflow-runs watch "$run" || [ $? = 9 ]
strait workflow-runs steps list "$run" --fields step_ref,status,compensated_by
