-- The two roles and the database of one Keyreeve installation, on a PostgreSQL of your own (15 to 18).
--
--   KEYREEVE_OWNER_PASSWORD=… KEYREEVE_APP_PASSWORD=… psql -X -d postgres -f deploy/roles.sql
--
-- Run it as a superuser, with psql 14 or later, as often as you like: it makes what is missing, sets both passwords and takes
-- back every right the roles should not have. The psql variables `owner_password` and `app_password` (-v) do as well, but a
-- command line can be read by every user of the machine.
--
-- keyreeve_owner owns the database; only `keyreeve migrate` (or `keyreeve up` where it may migrate) connects as it.
-- keyreeve_app serves. It owns nothing, so row-level security holds for it; migrations grant it what it needs.

\set ON_ERROR_STOP on
\getenv owner_password KEYREEVE_OWNER_PASSWORD
\getenv app_password KEYREEVE_APP_PASSWORD

\if :{?owner_password}
\else
\set owner_password ''
\endif
\if :{?app_password}
\else
\set app_password ''
\endif

select length(:'owner_password') < 16 or length(:'app_password') < 16 or :'owner_password' = :'app_password' as unfit \gset
\if :unfit
do $$ begin
    raise exception 'KEYREEVE_OWNER_PASSWORD and KEYREEVE_APP_PASSWORD must be set, differ, and have at least 16 characters';
end $$;
\endif

-- A password travels inside a statement here, so this session's statements stay out of the server's log and statistics.
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_error_statement = 'panic';
set pg_stat_statements.track_utility = off;
set password_encryption = 'scram-sha-256';

select format('create role %I', wanted.name)
  from (values ('keyreeve_owner'), ('keyreeve_app')) as wanted (name)
 where not exists (select from pg_roles where rolname = wanted.name)
\gexec

alter role keyreeve_owner login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'owner_password';
alter role keyreeve_app login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'app_password';

select format('revoke %I from %I', granted.rolname, member.rolname)
  from pg_auth_members m
  join pg_roles granted on granted.oid = m.roleid
  join pg_roles member on member.oid = m.member
 where member.rolname in ('keyreeve_owner', 'keyreeve_app')
\gexec

select 'create database keyreeve owner keyreeve_owner template template0 encoding ''UTF8'''
 where not exists (select from pg_database where datname = 'keyreeve')
\gexec

alter database keyreeve owner to keyreeve_owner;
revoke all on database keyreeve from public, keyreeve_app;
grant connect on database keyreeve to keyreeve_app;
