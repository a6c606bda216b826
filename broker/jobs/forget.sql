-- Session tokens that ended long ago. The app may not delete bearers: this deletes ended sessions of one tenant alone.
create function broker.forget_sessions{v}(p_tenant uuid, p_before timestamptz, p_most int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare gone int;
begin
    if p_before > clock_timestamp() - interval '1 hour' then
        raise exception 'sessions are kept for at least an hour after they end';
    end if;
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    with chosen as (
        select b.id from broker.bearers b
         where b.tenant_id = p_tenant and b.kind = 'session' and b.expires_at < p_before
           -- A parent stays until its children are gone: whose they were must remain readable.
           and not exists (select from broker.bearers c where c.tenant_id = p_tenant and c.parent_id = b.id)
         limit least(p_most, 10000)
    )
    delete from broker.bearers b using chosen where b.tenant_id = p_tenant and b.id = chosen.id;
    get diagnostics gone = row_count;
    return gone;
end $$;
