#!/bin/sh
# Make a role and a database per service. PostgreSQL's image runs this once, on a new data folder.
set -eu

create() {
    # By default every role may connect to every database. Revoke that, so that each role can access only its own.
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
