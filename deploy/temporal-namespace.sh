#!/bin/sh
# Creates the namespace with the search attributes of workflows/search_attributes.py. Can be run again: what exists
# stays. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say where; closed runs are kept for RETENTION.
set -eu

until temporal operator cluster health >/dev/null 2>&1; do
    echo "waiting for Temporal at $TEMPORAL_ADDRESS"
    sleep 2
done

temporal operator namespace describe -n "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create -n "$TEMPORAL_NAMESPACE" --retention "${RETENTION:-30d}"

# a namespace just made is not known to the whole server at once
until temporal operator search-attribute list >/dev/null 2>&1; do
    sleep 1
done
known=$(temporal operator search-attribute list)

register() {
    type=$1
    shift
    for name in "$@"; do
        echo "$known" | grep -qw "$name" || temporal operator search-attribute create --name "$name" --type "$type"
    done
}

register Keyword Journey Stage Contact Owner Hold Outcome EntryPoint
register Bool NeedsReview
register Datetime NextWake
