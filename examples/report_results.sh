#!/bin/sh
# Report a campaign with grpcurl alone: examples/report_results.sh [ADDRESS [TOTAL]]
#
# It registers a campaign at the status service, says how many messages there are, and
# reports one result for each, 500 a call; every 100th message failed. Every call is
# repeated until it succeeds, which is always safe, unless the service refuses it.
set -eu

address=${1:-127.0.0.1:20051}
total=${2:-2000}
results_a_call=500
case $total in
    *[!0-9]*) echo "the total is a whole number, not $total" >&2; exit 2 ;;
esac
campaign="example-$(date +%s)-$$"

# Make the call $1 with the request $2, and print its answer.
call() {
    until grpcurl -plaintext -connect-timeout 5 -max-time 30 -emit-defaults -d "$2" \
        "$address" "closeout.status.v1.StatusService/$1"; do
        code=$?
        # grpcurl ends with 64 + the code of gRPC, and with 1 if nobody answers.
        case $code in
            1 | 68 | 78) echo "$1: again in a second" >&2 ;; # DEADLINE_EXCEEDED, UNAVAILABLE
            *) exit "$code" ;;
        esac
        sleep 1
    done
}

# Print the request that reports the messages $1 to $2.
results() {
    awk -v campaign="$campaign" -v first="$1" -v last="$2" 'BEGIN {
        printf "{\"reporter\": \"my-script\", \"campaigns\": [{"
        printf "\"campaign_id\": \"%s\", \"results\": [", campaign
        for (sequence = first; sequence <= last; sequence++) {
            printf "{\"sequence\": %d, \"attempt\": 1, ", sequence
            if (sequence % 100) printf "\"outcome\": \"SENT\", \"code\": \"250\"}"
            else printf "\"outcome\": \"FAILED\", \"code\": \"550\"}"
            if (sequence < last) printf ", "
        }
        print "]}]}"
    }'
}

call CreateCampaign \
    "{\"campaign_id\": \"$campaign\", \"display_name\": \"Mine\", \"channel\": \"mine\"}" >/dev/null
call StartCampaign "{\"campaign_id\": \"$campaign\", \"total\": $total}" >/dev/null

first=1
while [ "$first" -le "$total" ]; do
    last=$((first + results_a_call - 1))
    [ "$last" -le "$total" ] || last=$total
    call BatchReportResults "$(results "$first" "$last")" >/dev/null
    first=$((last + 1))
done

call GetCampaign "{\"campaign_id\": \"$campaign\"}"
