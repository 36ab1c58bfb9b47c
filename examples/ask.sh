#!/bin/sh
# Predict a customer and tell later what became of them: sh ask.sh [URL]
set -eu
url=${1:-http://127.0.0.1:8420}
id=visit-$(date +%s%N)
json='Content-Type: application/json'

curl -fsS "$url/models/churn/invocations" -H "$json" \
  -d "{\"id\": \"$id\", \"x\": {\"months\": 40, \"calls\": 0, \"spend\": 61.0, \"paperless\": true}}"
echo
curl -fsS "$url/models/churn/labels" -H "$json" -d "{\"customer\": \"$id\", \"churned\": false}"
echo
curl -fsS "$url/api/v1/models/churn"
echo
