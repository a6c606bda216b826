-- Executions whose end nobody will write any more: past their deadline and the grace, or of a process that is gone.

create function broker.abandoned_tenants{v}(p_grace interval, p_boots uuid[], p_limit int) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select distinct o.tenant_id from broker.open_executions o
     where o.deadline_at < clock_timestamp() - p_grace
        or (o.begun_at < clock_timestamp() - interval '30 s' and not o.boot = any (p_boots))
     limit p_limit;
end $$;

-- Those of one tenant that have no call open any more, with what they did: how many calls, and each write that was sent or
-- may have been (at most 20 are named).
create function broker.abandoned_executions{v}(p_tenant uuid, p_grace interval, p_boots uuid[], p_limit int)
returns table (execution_id uuid, facts jsonb, calls int, writes int, made text[])
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    return query
    select o.execution_id, o.facts, coalesce(did.calls, 0), coalesce(did.writes, 0), coalesce(did.made[1:20], '{}')
      from broker.open_executions o
      left join lateral (
          select count(*)::int as calls,
                 (count(*) filter (where w.wrote))::int as writes,
                 array_agg((i.body ->> 'method') || ' ' || (i.body ->> 'path') order by i.n) filter (where w.wrote) as made
            from audit.events i
            cross join lateral (
                select i.body ->> 'effect' <> 'read' and not exists (
                    select from audit.events e
                     where e.tenant_id = i.tenant_id and e.at = i.at and e.call_id = i.call_id
                       and e.kind = 'outcome' and e.body -> 'sent' = 'false'::jsonb) as wrote) w
           where i.tenant_id = o.tenant_id and i.execution_id = o.execution_id and i.kind = 'intent') did on true
     where o.tenant_id = p_tenant
       and (o.deadline_at < clock_timestamp() - p_grace
            or (o.begun_at < clock_timestamp() - interval '30 s' and not o.boot = any (p_boots)))
       and not exists (select from broker.open_calls c where c.tenant_id = o.tenant_id and c.execution_id = o.execution_id)
     order by o.deadline_at limit p_limit;
end $$;

-- Writes the end of such an execution, once; whether this did it. Where its own process wrote one, that one stands alone.
create function broker.execution_closed{v}(p_event audit.events) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', (p_event).tenant_id::text, true);
    delete from broker.open_executions o
     where o.tenant_id = (p_event).tenant_id and o.execution_id = (p_event).execution_id;
    if not found then
        return false;
    end if;
    if exists (select from audit.events e where e.tenant_id = (p_event).tenant_id
                  and e.execution_id = (p_event).execution_id and e.kind = 'execution') then
        return false;
    end if;
    p_event.xid := pg_current_xact_id();
    insert into audit.events select (p_event).*;
    return true;
end $$;
