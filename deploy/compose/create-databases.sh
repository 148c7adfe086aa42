#!/bin/sh
# Make the roles and the database of each service, and set the passwords of its secret files. `make up` runs it each
# time before the migrations, so an interrupted run is repeated, and a changed password takes effect.
#
# <service>_owner owns the schema and runs the migrations. <service> reads and writes rows, and can change no table.
set -eu

secrets="${SECRETS_FOLDER:-/run/secrets}"
PGPASSWORD="$(cat "$secrets/postgres_password")"
export PGPASSWORD

create() {
    # psql goes on with an empty password if it cannot read one.
    cat "$secrets/$1_owner_database_password" "$secrets/$1_database_password" >/dev/null
    # psql reads the passwords itself: a command line could be read by other processes.
    SERVICE="$1" OWNER_FILE="$secrets/$1_owner_database_password" ROLE_FILE="$secrets/$1_database_password" \
        psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
\getenv service SERVICE
\set owner :service _owner
\set owner_password `cat "$OWNER_FILE"`
\set password `cat "$ROLE_FILE"`
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY[:'owner', :'service']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner" LOGIN PASSWORD :'owner_password';
ALTER ROLE :"service" LOGIN PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'service', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \gexec
-- By default every role may connect to every database. Revoke that, so that each service can access only its own.
REVOKE CONNECT, TEMPORARY ON DATABASE :"service" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"service" TO :"service";
\connect :"service"
ALTER SCHEMA public OWNER TO :"owner";
GRANT USAGE ON SCHEMA public TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE, SELECT ON SEQUENCES TO :"service";
SQL
}

for service in users orders notifications; do
    create "$service"
done
