#!/bin/sh
# Once, when the database is made: the role with which the API reads and can write nothing.
set -eu
psql -v ON_ERROR_STOP=1 -v password="'$API_PASSWORD'" -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f /roles/roles.sql
