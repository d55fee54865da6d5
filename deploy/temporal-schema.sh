#!/bin/sh
# Creates Temporal's two databases, or brings them up to date. Can be run again.
set -eu

# the tool takes the password from SQL_PASSWORD
sql() { temporal-sql-tool --plugin postgres12 --ep "$POSTGRES_HOST" -p 5432 -u "$POSTGRES_USER" "$@"; }

for database in temporal temporal_visibility; do
    schema=${database#temporal_}
    sql --db "$database" create
    sql --db "$database" setup-schema -v 0.0
    sql --db "$database" update-schema -d "/etc/temporal/schema/postgresql/v12/$schema/versioned"
done
