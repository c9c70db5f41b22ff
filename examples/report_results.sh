#!/bin/sh
# Report a campaign with grpcurl alone: examples/report_results.sh [ADDRESS [TOTAL]]
#
# It registers a campaign at the status service, says how many messages there are, and
# reports one result for each, 500 a call; every 100th message failed. Every call is
# repeated until it succeeds, which is always safe, unless the service refuses it.
# CLOSEOUT_API_KEY is the key, and CLOSEOUT_TLS_CA_FILE turns TLS on.
set -eu

address=${1:-127.0.0.1:20051}
total=${2:-2000}
results_a_call=500
case $total in
    *[!0-9]*) echo "the total is a whole number, not $total" >&2; exit 2 ;;
esac
# A key goes to another machine by TLS only.
case ${CLOSEOUT_API_KEY:+key}${CLOSEOUT_TLS_CA_FILE:+tls}@$address in
    key@127.* | key@localhost:* | key@"[::1]:"*) ;;
    key@*) echo "set CLOSEOUT_TLS_CA_FILE, so that nobody reads the key on its way" >&2; exit 2 ;;
esac
campaign="example-$(date +%s)-$$"

# Make the call $1 with the request $2, and print its answer.
call() {
    method=$1
    set -- -connect-timeout 5 -max-time 30 -emit-defaults -d "$2"
    if [ -n "${CLOSEOUT_TLS_CA_FILE:-}" ]; then
        set -- "$@" -cacert "$CLOSEOUT_TLS_CA_FILE"
    else
        set -- "$@" -plaintext
    fi
    # grpcurl puts the key into the header, so that no list of processes shows it.
    [ -z "${CLOSEOUT_API_KEY:-}" ] ||
        set -- "$@" -expand-headers -H 'authorization: Bearer ${CLOSEOUT_API_KEY}'
    until grpcurl "$@" "$address" "closeout.status.v1.StatusService/$method"; do
        code=$?
        # grpcurl ends with 64 + the code of gRPC, and with 1 if nobody answers.
        case $code in
            1 | 68 | 78) echo "$method: again in a second" >&2 ;; # DEADLINE_EXCEEDED, UNAVAILABLE
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
