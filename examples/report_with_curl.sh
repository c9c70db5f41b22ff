#!/bin/sh
# Report a campaign with curl: examples/report_with_curl.sh [URL [TOTAL [HEADERS]]]
# HEADERS is a file with the line "authorization: Bearer closeout_...", if keys are used.
# A call that nobody answers is repeated, which is always safe; a refusal ends the script.
set -eu
url=${1:-http://127.0.0.1:20080}/v1 total=${2:-2000} headers=${3:-/dev/null} id="example-$(date +%s)-$$"
call() { # [curl's options] URL
    until curl -sS --fail-with-body --retry 99 --retry-delay 1 -m 60 -H @"$headers" -H 'content-type: application/json' "$@"; do
        [ $? -ne 22 ] && sleep 0.2 || exit 22 # the service answered, and refused
    done
}
call -d "{\"campaignId\": \"$id\", \"displayName\": \"Mine\"}" "$url/campaigns" >/dev/null
call -d "{\"total\": $total}" "$url/campaigns/$id:start" >/dev/null
awk -v id="$id" -v total="$total" 'BEGIN { for (n = 1; n <= total; n++) {
    if (n % 500 == 1) printf "{\"campaigns\": [{\"campaignId\": \"%s\", \"results\": [", id
    printf "{\"sequence\": %d, \"outcome\": \"%s\"}", n, n % 100 ? "SENT" : "FAILED"
    printf "%s", n % 500 && n < total ? ", " : "]}]}\n" } }' |
    while read -r results; do call -d "$results" "$url/results:batchReport" >/dev/null; done
call "$url/campaigns/$id"
