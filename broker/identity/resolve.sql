-- One look-up per request: who calls, for whom, and what could serve the call. Read-only; authority is re-checked in admit.
-- p_home is the tenant spelled in the token: it only sets the scope, the digest is the authority.
create function broker.resolve{v}(
    p_home uuid, p_digest bytea, p_tenant text, p_identifier text, p_connection text
) returns table (
    status text, tenant_id uuid, tenant_name text, tenant_status text, policy_version bigint, impersonation boolean,
    bearer_id uuid, bearer_kind text, root_id uuid, bearer_name text, role text, identifiers text[], tenants text[],
    bearer_identity uuid, restrict_connections text[], restrict_access text, restrict_access_by jsonb,
    bearer_expires timestamptz, audience text,
    identity_id uuid, identifier text, groups text[], identity_status text,
    connections json, accounts json, grants json
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    b broker.bearers;
    t broker.tenants;
    i broker.identities;
    found_ uuid[];
begin
    perform set_config('keyreeve.tenant', p_home::text, true);
    select * into b from broker.bearers x where x.tenant_id = p_home and x.token_hash = p_digest;
    if not found or b.revoked_at is not null then
        status := 'unauthenticated'; return next; return;
    end if;
    if b.expires_at <= clock_timestamp() then
        status := 'session_expired'; return next; return;
    end if;
    if p_tenant is null then
        select * into t from broker.tenants x where x.id = p_home;
    else
        select * into t from broker.tenants x where x.name = p_tenant;
        -- A key that may not act there learns nothing about whether the tenant exists.
        -- `coalesce`: a role or list that is null must read as "may not", never as "unknown", which no `if` would refuse.
        if not found or (t.id <> p_home and not coalesce(
               b.role = 'platform_admin' or (b.kind = 'agent' and t.name = any (b.tenants)), false)) then
            status := 'foreign_tenant'; return next; return;
        end if;
    end if;
    -- An agent key issued for listed tenants acts in those alone.
    if b.kind = 'agent' and b.tenants is not null and not coalesce(t.name = any (b.tenants), false) then
        status := 'foreign_tenant'; return next; return;
    end if;
    if t.id <> p_home then
        perform set_config('keyreeve.tenant', t.id::text, true);
    end if;
    status := 'ok';
    tenant_id := t.id; tenant_name := t.name; tenant_status := t.status;
    policy_version := t.policy_version; impersonation := t.impersonation;
    bearer_id := b.id; bearer_kind := b.kind; root_id := b.root_id; bearer_name := b.name; role := b.role;
    identifiers := b.identifiers; tenants := b.tenants; bearer_identity := b.identity_id;
    restrict_connections := b.connections; restrict_access := b.access; restrict_access_by := b.access_by;
    bearer_expires := b.expires_at; audience := b.audience;
    if b.identity_id is not null then
        select * into i from broker.identities x where x.tenant_id = t.id and x.id = b.identity_id;
    elsif p_identifier is not null then
        select * into i from broker.identities x where x.tenant_id = t.id and x.identifier = p_identifier;
    end if;
    identity_id := i.id; identifier := i.identifier; groups := i.groups; identity_status := i.status;
    if i.id is null or p_connection = '' then
        return next; return;
    end if;
    select json_agg(json_build_array(c.id, c.name, c.connector, c.version, c.status)), array_agg(c.id) into connections, found_
      from broker.connections c
     where c.tenant_id = t.id and c.status <> 'deleted' and (p_connection is null or c.name = p_connection);
    if found_ is null then
        return next; return;
    end if;
    select json_agg(json_build_array(a.id, a.connection_id, a.identity_id, a.label, a.status, a.kind, a.version,
                                     a.permissions_version, a.upstream_account_id, a.upstream_expires_at)) into accounts
      from broker.accounts a
     where a.tenant_id = t.id and (a.identity_id = i.id or a.identity_id is null) and a.connection_id = any (found_)
       and (a.status <> 'revoked' or a.revoked_at > clock_timestamp() - interval '90 days');
    select json_agg(json_build_array(g.id, g.subject_kind, coalesce(g.group_name, i.identifier), g.connection_id, g.tools,
                                     g.access, g.operations, g.accounts, g.zones, g.account, g.expires_at)) into grants
      from (select * from broker.grants x
             where x.tenant_id = t.id and x.identity_id = i.id and x.deleted_at is null
            union all
            -- Two branches: one condition over both would be answered by reading every grant of the tenant.
            select * from broker.grants x
             where x.tenant_id = t.id and x.identity_id is null and x.deleted_at is null
               and (x.group_name is null or x.group_name = any (i.groups))) g
     where g.connection_id = any (found_);
    return next;
end $$;
