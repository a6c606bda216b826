-- The end of a call: its slots go to this second, its outcome is written, its row of open calls goes.
-- Repeating a settle does nothing (already true): the outcome's id is the guard. Where the sweeper came first (late true) the
-- call's use is booked once more, at this second, and the true outcome follows the sweeper's `unknown`.
-- p_only_open: do nothing unless the call is open still: what the sweeper does, and whoever lost admit's answer.
create function broker.settle{v}(
    p_tenant uuid, p_call uuid, p_account uuid, p_principal bytea, p_meters text[], p_costs int[], p_how text,
    p_block int, p_limit int, p_left int, p_window int, p_only_open boolean, p_event audit.events,
    out already boolean, out late boolean, out remaining int, out reset_ms bigint, out db_now timestamptz
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    o record;
    i int;
    booked record;
    n bigint;
    scope text := set_config('keyreeve.tenant', p_tenant::text, true);
begin
    already := false;
    db_now := clock_timestamp();
    delete from broker.open_calls x where x.tenant_id = p_tenant and x.call_id = p_call
    returning x.principal_key, x.meters, x.costs, x.slot_seconds, x.slot_eras, x.slots_seen, x.stale into o;
    late := not found;
    if late and p_only_open then
        return;
    end if;
    p_event.xid := pg_current_xact_id();
    if late then
        insert into audit.events select (p_event).* on conflict do nothing;
        get diagnostics n = row_count;
        if n = 0 then
            already := true;
            return;
        end if;
    else
        -- The row of an open call goes in the transaction that writes its outcome: while it is there, no outcome is.
        insert into audit.events select (p_event).*;
    end if;
    for i in 1 .. cardinality(p_meters) loop
        if late then
            booked := broker.budget_settle{v}(p_principal, p_meters[i], p_costs[i], 0, 0, 0,
                                              case when p_how = 'sent' then 'late' else 'not_sent' end,
                                              p_block, null, null, null);
        else
            booked := broker.budget_settle{v}(
                o.principal_key, o.meters[i], o.costs[i], o.slot_seconds[i], o.slot_eras[i], o.slots_seen[i], p_how, p_block,
                case when i = 1 then p_limit end, case when i = 1 then p_left end, case when i = 1 then p_window end);
        end if;
        if i = 1 then
            remaining := booked.remaining; reset_ms := booked.reset_ms;
        end if;
    end loop;
    if p_how = 'sent' and (late or o.stale) then
        -- Not worth a wait: whoever holds the row changes the account, and in a group others would wait with us.
        update broker.accounts a set last_used_at = db_now
         where (a.tenant_id, a.id) = (select x.tenant_id, x.id from broker.accounts x
                                       where x.tenant_id = p_tenant and x.id = p_account
                                         and (x.last_used_at is null or x.last_used_at < db_now - interval '1 minute')
                                         for update skip locked);
    end if;
end $$;

-- Tenants with calls that nobody will settle any more: past their deadline and the grace, or of a process that is gone.
create function broker.overdue_tenants{v}(p_grace interval, p_boots uuid[], p_limit int) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select distinct o.tenant_id from broker.open_calls o
     where o.deadline_at < clock_timestamp() - p_grace
        or (o.admitted_at < clock_timestamp() - interval '30 s' and not o.boot = any (p_boots))
     limit p_limit;
end $$;

-- Those calls of one tenant, with the intent each began with. Several sweepers may get the same: `settle` lets one close it.
create function broker.overdue_calls{v}(p_tenant uuid, p_grace interval, p_boots uuid[], p_limit int)
returns table (call_id uuid, account_id uuid, principal_key bytea, meters text[], costs int[], intent audit.events)
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    return query
    select o.call_id, o.account_id, o.principal_key, o.meters, o.costs, e
      from broker.open_calls o
      join audit.events e on e.tenant_id = o.tenant_id and e.at = o.intent_at and e.call_id = o.call_id and e.kind = 'intent'
     where o.tenant_id = p_tenant
       and (o.deadline_at < clock_timestamp() - p_grace
            or (o.admitted_at < clock_timestamp() - interval '30 s' and not o.boot = any (p_boots)))
     order by o.deadline_at limit p_limit;
end $$;
