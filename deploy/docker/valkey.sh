#!/bin/sh
# Durable, bounded, never evicting; and a user `api` that reads, and writes its own copies of answers only.
set -eu
exec valkey-server --appendonly yes --appendfsync everysec --save "" --maxmemory 512mb \
  --maxmemory-policy noeviction --requirepass "$VALKEY_PASSWORD" \
  --user api on ">$API_PASSWORD" "%R~*" "&*" -@all +@read +@connection -@admin -@dangerous +info +multi +exec \
  +discard "(-@all +set +setex +psetex +getex +del +unlink +expire +pexpire ~api:*)"
