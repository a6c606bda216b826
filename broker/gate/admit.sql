-- Admission of one call: the last moment at which it can be refused, and its durable intent. See README.md.

-- The lock that guards an object against being taken away while a call is admitted on its authority.
-- Shared by every admission, exclusive by whoever takes away. Order: tenant, identity, bearer, account.
create function broker.gate_lock{v}(p_kind text, p_id uuid, p_exclusive boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_exclusive then
        perform pg_advisory_xact_lock(hashtextextended(p_kind || ':' || p_id::text, 7));
    else
        perform pg_advisory_xact_lock_shared(hashtextextended(p_kind || ':' || p_id::text, 7));
    end if;
end $$;

-- A bearer's family has two kinds of lock: its root's, and one for its root in each tenant where members live. Admissions,
-- and whoever mints, hold both of their bearer shared. Who takes away a bearer that may act in other tenants holds the first
-- exclusively; who takes away any other, all of whose descendants live where it lives, holds the first shared and the second
-- exclusively. So nobody who is concerned passes, and one tenant's keys hold up no other's, whoever minted both.
create function broker.bearer_lock{v}(p_root uuid, p_home uuid, p_exclusive boolean, p_abroad boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform broker.gate_lock{v}('bearer', p_root, p_exclusive and p_abroad);
    if not p_exclusive then
        perform pg_advisory_xact_lock_shared(hashtextextended('bearer:' || p_root::text || '@' || p_home::text, 7));
    elsif p_abroad is not true then
        perform pg_advisory_xact_lock(hashtextextended('bearer:' || p_root::text || '@' || p_home::text, 7));
    end if;
end $$;

-- p_maintenance: a call of our own, on an account that need not be active yet. p_principal: whose budget is booked; null: the
-- account's own. Without p_maintenance it is what the caller remembers of the account's own, and judged with the rest.
-- p_meters, p_caps, p_windows, p_costs: the claims, sorted by meter name; booked all or none. p_hold: seconds after which
-- nothing of this call can reach the upstream any more. p_expected: what this node's monotonic clock says the database's
-- reads now. reason: null admitted; 'budget' (retry_ms says when enough is free); 'principal_moved': what the caller
-- remembered was wrong; 'busy': without p_wait, somebody is taking away what one of its locks guards, or waits to (nothing
-- was done; in a group nobody may wait for such a lock while holding others); else the word for why the authority that the
-- call was decided upon no longer stands.
create function broker.admit{v}(
    p_tenant uuid, p_policy_version bigint, p_identity uuid, p_bearer_tenant uuid, p_bearer uuid, p_root uuid,
    p_connection uuid, p_connection_version int, p_account uuid, p_account_version int, p_maintenance boolean, p_principal bytea,
    p_meters text[], p_caps int[], p_windows int[], p_costs int[], p_reserve int, p_hold int, p_expected timestamptz,
    p_call uuid, p_execution uuid, p_wait boolean, p_event audit.events,
    out reason text, out credential_id uuid, out credential_version int, out kind text, out origins text[], out sealed bytea,
    out principal bytea, out meter text, out remaining int, out retry_ms bigint, out reset_ms bigint, out db_now timestamptz
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    now_ timestamptz := clock_timestamp();
    i int;
    booked record;
    seconds bigint[] := '{}';
    eras int[] := '{}';
    seen int[] := '{}';
    f record;
    sharer uuid := coalesce(p_identity, p_tenant);
    scope text := set_config('keyreeve.tenant', p_tenant::text, true);
    locked text;
    family text := 'bearer:' || p_root::text || '@' || p_bearer_tenant::text;
    away boolean := p_bearer_tenant <> p_tenant;
    -- The one call that a revoked account admits, while it is asked for: giving its tokens back.
    last_ boolean := p_maintenance and p_event.operation = 'maintenance:oauth/revoke';
    abroad broker.bearers;
begin
    if p_expected is not null and now_ > p_expected + interval '3 seconds' then
        perform broker.note_clock{v}(p_expected);
    end if;
    db_now := now_;
    -- gate_lock's and bearer_lock's shared halves, written out: an assignment costs a tenth of a call of it.
    if p_wait then
        locked := pg_advisory_xact_lock_shared(hashtextextended('tenant:' || p_tenant::text, 7))::text;
        if p_identity is not null then
            locked := pg_advisory_xact_lock_shared(hashtextextended('identity:' || p_identity::text, 7))::text;
        end if;
        locked := pg_advisory_xact_lock_shared(hashtextextended('bearer:' || p_root::text, 7))::text;
        locked := pg_advisory_xact_lock_shared(hashtextextended(family, 7))::text;
        locked := pg_advisory_xact_lock_shared(hashtextextended('account:' || p_account::text, 7))::text;
    elsif not (pg_try_advisory_xact_lock_shared(hashtextextended('tenant:' || p_tenant::text, 7))
               and (p_identity is null
                    or pg_try_advisory_xact_lock_shared(hashtextextended('identity:' || p_identity::text, 7)))
               and pg_try_advisory_xact_lock_shared(hashtextextended('bearer:' || p_root::text, 7))
               and pg_try_advisory_xact_lock_shared(hashtextextended(family, 7))
               and pg_try_advisory_xact_lock_shared(hashtextextended('account:' || p_account::text, 7))) then
        reason := 'busy';
        return;
    end if;
    principal := p_principal;
    if principal is null then
        -- What we ask on an account's own budget is its owner's use, whoever had us ask.
        select a.principal_key, case when p_maintenance then coalesce(a.identity_id, p_tenant) else sharer end
          into principal, sharer from broker.accounts a where a.tenant_id = p_tenant and a.id = p_account;
    end if;
    if principal is not null then
        for i in 1 .. cardinality(p_meters) loop
            booked := broker.budget_reserve{v}(principal, p_meters[i], p_caps[i], p_windows[i], p_costs[i], p_reserve, p_hold,
                                               p_tenant, sharer);
            if not booked.ok then
                reason := 'budget'; meter := p_meters[i];
                remaining := booked.remaining; retry_ms := booked.retry_ms; reset_ms := booked.reset_ms;
                perform broker.release{v}(principal, p_meters, p_costs, seconds, eras);
                return;
            end if;
            seconds := seconds || booked.slot_second;
            eras := eras || booked.slot_era;
            seen := seen || booked.seen;
            if i = 1 then
                meter := p_meters[1]; remaining := booked.remaining; reset_ms := booked.reset_ms;
            end if;
        end loop;
    end if;
    if away then
        perform set_config('keyreeve.tenant', p_bearer_tenant::text, true);
        select x.* into abroad
          from broker.bearers x where x.tenant_id = p_bearer_tenant and x.id = p_bearer;
        perform set_config('keyreeve.tenant', p_tenant::text, true);
    end if;
    -- The judgement: one new statement per table scope, whose snapshot is younger than every lock held here.
    now_ := clock_timestamp();
    select case
               when t.status <> 'active' then 'tenant_inactive'
               when case when away then abroad.id else b.id end is null
                    or case when away then abroad.revoked_at else b.revoked_at end is not null then 'bearer_revoked'
               when case when away then abroad.expires_at else b.expires_at end <= now_ then 'bearer_expired'
               when p_identity is not null and i.status is distinct from 'active' then 'identity_disabled'
               when a.status is null or a.status = 'revoked' and (not last_ or a.giving_back is distinct from 'pending')
                   then 'account_revoked'
               when c.status is distinct from 'active' then 'connection_inactive'
               when not p_maintenance and a.status <> 'active' then 'account_' || a.status
               when k.status = 'revoked' and (not last_ or a.giving_back is distinct from 'pending')
                   then 'account_revoked'
               when k.id is null or (not p_maintenance and k.status <> 'active') then 'account_needs_reauth'
               when not p_maintenance and a.upstream_expires_at <= now_ then 'credential_expired'
               when not p_maintenance and a.identity_id <> p_identity then 'policy_changed'
               when c.version <> p_connection_version then 'connection_changed'
               when not p_maintenance and (t.policy_version <> p_policy_version or a.version <> p_account_version)
                   then 'policy_changed'
               when not p_maintenance and p_principal is not null and a.principal_key is distinct from p_principal
                   then 'principal_moved'
           end as reason,
           k.id as credential_id, k.version, k.kind, k.origins, k.sealed,
           -- The account's last use is to be noted when the call ends.
           coalesce(a.last_used_at < now_ - interval '1 minute', true) as stale
      into f
      from broker.tenants t
      left join broker.bearers b on not away and b.tenant_id = p_tenant and b.id = p_bearer
      left join broker.identities i on i.tenant_id = p_tenant and i.id = p_identity
      left join broker.accounts a on a.tenant_id = p_tenant and a.id = p_account
      left join broker.connections c on c.tenant_id = p_tenant and c.id = a.connection_id and c.id = p_connection
      left join vault.credentials k on k.tenant_id = p_tenant and k.id = a.credential_id and k.account_id = a.id
     where t.id = p_tenant;
    if not found then
        f.reason := 'tenant_inactive';
    end if;
    if f.reason is null and principal is null then
        f.reason := 'account_needs_reauth';
    end if;
    if f.reason is not null then
        reason := f.reason;
        perform broker.release{v}(principal, p_meters, p_costs, seconds, eras);
        return;
    end if;
    credential_id := f.credential_id; credential_version := f.version; kind := f.kind;
    origins := f.origins; sealed := f.sealed;
    insert into broker.open_calls (tenant_id, call_id, execution_id, account_id, connection_id, identity_id, bearer_id,
                                   intent_at, admitted_at, deadline_at, principal_key, meters, costs,
                                   slot_seconds, slot_eras, slots_seen, stale, boot)
    values (p_tenant, p_call, p_execution, p_account, p_connection, p_identity, p_bearer, p_event.at, now_,
            now_ + p_hold * interval '1 s', principal, p_meters, p_costs, seconds, eras, seen, f.stale, p_event.boot);
    p_event.xid := pg_current_xact_id();
    insert into audit.events select (p_event).*;
end $$;

-- Gives back what was booked of the first meters; nothing was sent.
create function broker.release{v}(p_principal bytea, p_meters text[], p_costs int[], p_seconds bigint[], p_eras int[])
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    for i in 1 .. cardinality(p_seconds) loop
        perform broker.budget_settle{v}(p_principal, p_meters[i], p_costs[i], p_seconds[i], p_eras[i], 0, 'not_sent',
                                        0, null, null, null);
    end loop;
end $$;
