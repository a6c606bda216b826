-- What one tenant may know of the budgets its accounts spend: its own use, and everything else as one number.
create function broker.budget_usage{v}(p_tenant uuid) returns table (
    principal_key bytea, meter text, cap int, window_seconds int, used int, foreign_used int, blocked_until timestamptz
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    b broker.budgets;
    r broker.budgets;
    now_ timestamptz := clock_timestamp();
    since bigint;
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    for b in select x.* from broker.budgets x
              where x.principal_key in (select a.principal_key from broker.accounts a
                                         where a.tenant_id = p_tenant and a.status <> 'revoked')
              order by x.principal_key, x.meter limit 10000 loop
        r := broker.budget_roll{v}(b, b.window_seconds, now_);
        if r.shared then
            since := (r.base + r.window_seconds) / greatest(r.window_seconds / 10, 1) - 11;
            select least(coalesce(sum(s.used), 0), r.used) into used from broker.budget_shares s
             where s.principal_key = b.principal_key and s.meter = b.meter and s.tenant_id = p_tenant and s.bucket > since;
        else
            used := case when r.sole_tenant = p_tenant then r.used else 0 end;
        end if;
        principal_key := r.principal_key; meter := r.meter; cap := r.cap; window_seconds := r.window_seconds;
        foreign_used := least(r.used + r.foreign_used - used, r.cap);
        blocked_until := case when r.blocked_until > now_ then r.blocked_until end;
        return next;
    end loop;
end $$;
