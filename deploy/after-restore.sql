-- Locks a database that was restored from a backup, before any server starts on it.
--
--   psql -X -d keyreeve -v keep_key=ID [-v keep_accounts=yes] -f deploy/after-restore.sql      (as a superuser)
--
-- A backup does not know what was revoked after it was made: without this, such a session, key or credential works again.
-- Revokes every session, agent key and operator key but the one whose id is `keep_key` (you must hold its text), and asks for
-- every connected account's credential anew. `keep_accounts` leaves the accounts as they are: only where you know that none was
-- revoked since the backup. Takes every tenant's sign-in provider away, for whoever was offboarded since the backup could sign in
-- again: offboard them again, then have the tenant's admin set it again (who is linked stays linked). What it did is printed; write it down, for the audit only holds what servers do.

\set ON_ERROR_STOP on
\if :{?keep_key}
\else
do $$ begin raise exception 'say which operator key stays: -v keep_key=ID'; end $$;
\endif

begin;

select not exists (select from broker.bearers
                    where id = :'keep_key'::uuid and kind = 'operator' and role = 'platform_admin' and revoked_at is null)
    as unfit \gset
\if :unfit
do $$ begin raise exception 'keep_key names no operator key with the role platform_admin that is in force in this backup'; end $$;
\endif

update broker.bearers set revoked_at = clock_timestamp(), revoked_reason = 'restored from a backup'
 where revoked_at is null and id <> :'keep_key'::uuid;

\if :{?keep_accounts}
\else
update broker.accounts set status = 'needs_reauth', version = version + 1 where status = 'active';
\endif

update broker.tenants set policy_version = policy_version + 1;
delete from broker.sign_in_providers;
delete from broker.idempotency;
delete from broker.nodes;

commit;
