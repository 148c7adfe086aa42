#!/bin/sh
# Make the roles and the database of the service SERVICE, and set the passwords of its secret files. `make up` runs it
# each time before the migration, so an interrupted run is repeated, and a changed password takes effect.
#
# <service>_owner owns the schema and runs the migrations. <service> reads and writes rows, and can change no table.
# orderly_archive takes base backups and receives WAL, and can read no table. audit reads every table, and writes none.
set -eu

secrets="${SECRETS_FOLDER:-/run/secrets}"
PGPASSWORD="$(cat "$secrets/${SERVICE}_postgres_password")"
OWNER_FILE="$secrets/${SERVICE}_owner_database_password"
ROLE_FILE="$secrets/${SERVICE}_database_password"
ARCHIVE_FILE="$secrets/archive_password"
AUDIT_FILE="$secrets/audit_database_password"
# psql goes on with an empty password if it cannot read one.
cat "$OWNER_FILE" "$ROLE_FILE" "$ARCHIVE_FILE" "$AUDIT_FILE" >/dev/null
# psql reads the passwords itself: a command line could be read by other processes.
export PGPASSWORD SERVICE OWNER_FILE ROLE_FILE ARCHIVE_FILE AUDIT_FILE
# With a synchronous archive, commits wait for a receiver, and that needs its role first.
export PGOPTIONS="-c synchronous_commit=local"
psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
\getenv service SERVICE
\set owner :service _owner
\set owner_password `cat "$OWNER_FILE"`
\set password `cat "$ROLE_FILE"`
\set archive_password `cat "$ARCHIVE_FILE"`
\set audit_password `cat "$AUDIT_FILE"`
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY[:'owner', :'service', 'orderly_archive', 'audit']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner" LOGIN PASSWORD :'owner_password';
ALTER ROLE :"service" LOGIN PASSWORD :'password';
ALTER ROLE orderly_archive LOGIN REPLICATION PASSWORD :'archive_password';
ALTER ROLE audit LOGIN PASSWORD :'audit_password';
ALTER ROLE audit SET default_transaction_read_only = on;
SELECT 'GRANT pg_read_all_data TO audit' WHERE NOT pg_has_role('audit', 'pg_read_all_data', 'member') \gexec
SELECT 'GRANT pg_monitor TO orderly_archive' WHERE NOT pg_has_role('orderly_archive', 'pg_monitor', 'member') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'service', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \gexec
-- By default every role may connect to every database.
REVOKE CONNECT, TEMPORARY ON DATABASE :"service" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"service" TO :"service", audit;
\connect :"service"
ALTER SCHEMA public OWNER TO :"owner";
GRANT USAGE ON SCHEMA public TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE, SELECT ON SEQUENCES TO :"service";
SQL
