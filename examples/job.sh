# Used by the examples: `job SLUG PATH [FLAGS]` makes a job that calls the sample endpoint, unless it is there;
# `workflow FILE SLUG` makes a workflow, or changes it to what the file says.

SAMPLE=${SAMPLE:-http://127.0.0.1:8081}

job() {
    slug=$1 path=$2
    shift 2
    # 6: it is there already.
    strait -q jobs create --name "$slug" --slug "$slug" --endpoint "$SAMPLE$path" "$@" >/dev/null 2>&1 || [ $? = 6 ]
}

workflow() {
    strait -q workflows update "$2" --file "$1" >/dev/null 2>&1 || strait -q workflows create --file "$1" >/dev/null
}
