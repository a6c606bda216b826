-- Lets what a key minted live on when the key is revoked: its direct children lose their parent, in whatever tenant they
-- are. They keep `root_id`: it names the family's lock, under which calls are being admitted at this very moment.
create function broker.release_minted{v}(p_tenant uuid, p_bearer uuid) returns int
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    b broker.bearers;
    abroad boolean;
    homes uuid[];
    t uuid;
    n int;
    released int := 0;
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    select * into b from broker.bearers x where x.tenant_id = p_tenant and x.id = p_bearer;
    if b.id is null then
        return 0;
    end if;
    abroad := b.role is not distinct from 'platform_admin' or b.tenants is not null;
    perform broker.bearer_lock{v}(b.root_id, p_tenant, true, abroad);
    -- Only a bearer that may act in other tenants can have minted there.
    if abroad then
        select array_agg(x.id) into homes from broker.tenants x;
    else
        homes := array[p_tenant];
    end if;
    foreach t in array homes loop
        perform set_config('keyreeve.tenant', t::text, true);
        update broker.bearers x set parent_id = null, parent_tenant_id = null
         where x.tenant_id = t and x.root_id = b.root_id and x.parent_id = p_bearer and x.revoked_at is null;
        get diagnostics n = row_count;
        released := released + n;
    end loop;
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    return released;
end $$;
