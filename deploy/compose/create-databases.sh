#!/bin/sh
# One role and one database per service. PostgreSQL's image runs this once, on a new data folder.
set -eu

create() {
    # CONNECT is everybody's by default; taken away, each role is refused by the others' databases.
    psql --no-password --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set role="$1" --set password="$2" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE CONNECT, TEMPORARY ON DATABASE :"role" FROM PUBLIC;
SQL
}

create users "$USERS_DATABASE_PASSWORD"
create orders "$ORDERS_DATABASE_PASSWORD"
create notifications "$NOTIFICATIONS_DATABASE_PASSWORD"
