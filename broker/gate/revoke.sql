-- Taking away: exclusive lock, flip, and what is still open. All run in the caller's transaction, so the audit's change
-- commits with them; from that commit on nothing more is admitted on the taken authority, on any node.
-- Each answers its open calls as a JSON array of {tenant_id, call_id, execution_id, account_id}.

create function broker.open_json{v}(o broker.open_calls) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('tenant_id', (o).tenant_id, 'call_id', (o).call_id, 'execution_id', (o).execution_id,
                              'account_id', (o).account_id)
$$;

-- Policy would now answer differently (grants, groups, a connection's config, description or status).
create function broker.policy_changed{v}(p_tenant uuid) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare v bigint;
begin
    perform broker.gate_lock{v}('tenant', p_tenant, true);
    update broker.tenants t set policy_version = t.policy_version + 1 where t.id = p_tenant returning t.policy_version into v;
    perform pg_notify('keyreeve_changed', p_tenant::text);  -- heard at the commit by whoever waits (tools/watching.py)
    return v;
end $$;

create function broker.revoke_account{v}(p_tenant uuid, p_account uuid, p_reason text, p_now timestamptz,
    out revoked_at timestamptz, out open_calls jsonb
) language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform broker.gate_lock{v}('account', p_account, true);
    perform pg_notify('keyreeve_changed', p_tenant::text);
    update broker.accounts a
       set status = 'revoked', revoked_at = p_now, revoked_reason = p_reason, version = a.version + 1
     where a.tenant_id = p_tenant and a.id = p_account and a.status <> 'revoked';
    if found then
        update vault.credentials k set status = 'revoked'
         where k.tenant_id = p_tenant and k.account_id = p_account and k.status <> 'revoked';
    end if;
    select a.revoked_at into revoked_at from broker.accounts a where a.tenant_id = p_tenant and a.id = p_account;
    select coalesce(jsonb_agg(broker.open_json{v}(o)), '[]') into open_calls
      from broker.open_calls o where o.tenant_id = p_tenant and o.account_id = p_account;
end $$;

-- A key or session and all it minted, in whatever tenant. p_tenant is its home.
create function broker.revoke_bearer{v}(p_tenant uuid, p_bearer uuid, p_reason text, p_now timestamptz,
    out revoked_at timestamptz, out revoked uuid[], out open_calls jsonb
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    b broker.bearers;
    abroad boolean;
    homes uuid[];
    t uuid;
    family uuid[];
    fresh uuid[];
    grown boolean := true;
    found_ jsonb;
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    select * into b from broker.bearers x where x.tenant_id = p_tenant and x.id = p_bearer;
    if b.id is null then
        return;
    end if;
    abroad := b.role is not distinct from 'platform_admin' or b.tenants is not null;
    perform broker.bearer_lock{v}(b.root_id, p_tenant, true, abroad);
    -- Only a bearer that may act in other tenants can have minted or can be running there.
    if abroad then
        select array_agg(x.id) into homes from broker.tenants x;
    else
        homes := array[p_tenant];
    end if;
    family := array[p_bearer];
    while grown loop
        grown := false;
        foreach t in array homes loop
            perform set_config('keyreeve.tenant', t::text, true);
            loop
                select array_agg(x.id) into fresh from broker.bearers x
                 where x.tenant_id = t and x.root_id = b.root_id and x.parent_id = any (family) and not x.id = any (family);
                exit when fresh is null;
                family := family || fresh;
                grown := true;
            end loop;
        end loop;
    end loop;
    revoked := '{}';
    open_calls := '[]';
    foreach t in array homes loop
        perform set_config('keyreeve.tenant', t::text, true);
        with gone as (
            update broker.bearers x set revoked_at = p_now, revoked_reason = p_reason
             where x.tenant_id = t and x.root_id = b.root_id and x.id = any (family) and x.revoked_at is null
            returning x.id
        ) select coalesce(array_agg(g.id), '{}') into fresh from gone g;
        revoked := revoked || fresh;
        perform pg_notify('keyreeve_changed', t::text);
        select jsonb_agg(broker.open_json{v}(o)) into found_
          from broker.open_calls o where o.tenant_id = t and o.bearer_id = any (family);
        open_calls := open_calls || coalesce(found_, '[]');
    end loop;
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    select x.revoked_at into revoked_at from broker.bearers x where x.tenant_id = p_tenant and x.id = p_bearer;
end $$;

-- Disables an identity and takes its sessions, the keys that act for it alone, and its own accounts.
create function broker.revoke_identity{v}(p_tenant uuid, p_identity uuid, p_reason text, p_now timestamptz,
    out disabled_at timestamptz, out sessions uuid[], out keys uuid[], out accounts jsonb, out open_calls jsonb
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    i broker.identities;
    account_ uuid;
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    perform broker.gate_lock{v}('identity', p_identity, true);
    perform pg_notify('keyreeve_changed', p_tenant::text);
    update broker.identities x set status = 'disabled', disabled_at = p_now, version = x.version + 1
     where x.tenant_id = p_tenant and x.id = p_identity and x.status <> 'disabled';
    select * into i from broker.identities x where x.tenant_id = p_tenant and x.id = p_identity;
    if i.id is null then
        return;
    end if;
    disabled_at := i.disabled_at;
    -- Others make calls on its accounts too: an admin has one verified. They hold the account's lock, not the identity's.
    for account_ in select a.id from broker.accounts a
                     where a.tenant_id = p_tenant and a.identity_id = p_identity and a.status <> 'revoked' order by a.id loop
        perform broker.gate_lock{v}('account', account_, true);
    end loop;
    with gone as (
        update broker.bearers x set revoked_at = p_now, revoked_reason = p_reason
         where x.tenant_id = p_tenant and x.identity_id = p_identity and x.revoked_at is null
           and (x.expires_at is null or x.expires_at > p_now)
        returning x.id
    ) select coalesce(array_agg(g.id), '{}') into sessions from gone g;
    with gone as (
        update broker.bearers x set revoked_at = p_now, revoked_reason = p_reason
         where x.tenant_id = p_tenant and x.kind = 'agent' and x.identifiers = array[i.identifier] and x.revoked_at is null
        returning x.id
    ) select coalesce(array_agg(g.id), '{}') into keys from gone g;
    with gone as (
        update broker.accounts a
           set status = 'revoked', revoked_at = p_now, revoked_reason = p_reason, version = a.version + 1
         where a.tenant_id = p_tenant and a.identity_id = p_identity and a.status <> 'revoked'
        returning a.id, a.connection_id, a.revoked_at
    ), sealed as (
        update vault.credentials k set status = 'revoked'
          from gone g where k.tenant_id = p_tenant and k.account_id = g.id and k.status <> 'revoked'
    ) select coalesce(jsonb_agg(jsonb_build_object('id', g.id, 'connection_name', c.name, 'revoked_at', g.revoked_at)
                                order by g.id), '[]') into accounts
        from gone g join broker.connections c on c.tenant_id = p_tenant and c.id = g.connection_id;
    select coalesce(jsonb_agg(broker.open_json{v}(o)), '[]') into open_calls
      from broker.open_calls o
     where o.tenant_id = p_tenant
       and (o.identity_id = p_identity
            or o.account_id in (select a.id from broker.accounts a where a.tenant_id = p_tenant and a.identity_id = p_identity));
end $$;

-- A connection's status changes ('active', 'suspended', 'deleted'); deleted takes its accounts too.
create function broker.set_connection{v}(p_tenant uuid, p_connection uuid, p_status text, p_reason text, p_now timestamptz,
    out changed_at timestamptz, out open_calls jsonb
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare gone uuid[];
begin
    perform broker.policy_changed{v}(p_tenant);
    changed_at := p_now;
    update broker.connections c
       set status = p_status, version = c.version + 1, deleted_at = case when p_status = 'deleted' then changed_at end
     where c.tenant_id = p_tenant and c.id = p_connection and c.status <> 'deleted' and c.status <> p_status;
    if p_status = 'deleted' then
        with flipped as (
            update broker.accounts a
               set status = 'revoked', revoked_at = changed_at, revoked_reason = p_reason, version = a.version + 1
             where a.tenant_id = p_tenant and a.connection_id = p_connection and a.status <> 'revoked'
            returning a.id
        ) select array_agg(f.id) into gone from flipped f;
        update vault.credentials k set status = 'revoked'
         where k.tenant_id = p_tenant and k.account_id = any (gone) and k.status <> 'revoked';
    end if;
    select coalesce(jsonb_agg(broker.open_json{v}(o)), '[]') into open_calls
      from broker.open_calls o where o.tenant_id = p_tenant and o.connection_id = p_connection;
end $$;

-- A tenant's status changes ('active', 'suspended', 'closed').
create function broker.set_tenant{v}(p_tenant uuid, p_status text, p_now timestamptz, out changed_at timestamptz, out open_calls jsonb)
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform broker.policy_changed{v}(p_tenant);
    changed_at := p_now;
    update broker.tenants t set status = p_status, version = t.version + 1
     where t.id = p_tenant and t.status <> p_status and t.status <> 'closed';
    select coalesce(jsonb_agg(broker.open_json{v}(o)), '[]') into open_calls
      from broker.open_calls o where o.tenant_id = p_tenant;
end $$;

-- Which of these calls are still open.
create function broker.still_open{v}(p_tenant uuid, p_calls uuid[]) returns setof uuid
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    return query select o.call_id from broker.open_calls o where o.tenant_id = p_tenant and o.call_id = any (p_calls);
end $$;
