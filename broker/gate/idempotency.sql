-- Idempotency keys. A row is one key within its scope; it lives 24 h from its first use.

-- Takes the key for a run, or says what became of the run that has it:
-- 'begun', 'conflict' (another request), 'running' (retry_ms till its deadline), 'unknown', 'done' (result may be null).
create function broker.idem_begin{v}(
    p_tenant uuid, p_scope bytea, p_request bytea, p_execution uuid, p_deadline timestamptz,
    out state text, out execution_id uuid, out result bytea, out retry_ms bigint
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    now_ timestamptz := clock_timestamp();
    r broker.idempotency;
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    insert into broker.idempotency as x (tenant_id, scope, request_digest, execution_id, state, created_at, deadline_at, expires_at)
    values (p_tenant, p_scope, p_request, p_execution, 'running', now_, p_deadline, now_ + interval '24 h')
    on conflict (tenant_id, scope) do update
       set request_digest = excluded.request_digest, execution_id = excluded.execution_id, state = 'running', result = null,
           created_at = excluded.created_at, deadline_at = excluded.deadline_at, expires_at = excluded.expires_at
     where x.expires_at <= now_
    returning x.* into r;
    if found then
        state := 'begun'; execution_id := p_execution;
        return;
    end if;
    select * into r from broker.idempotency x where x.tenant_id = p_tenant and x.scope = p_scope;
    if r.scope is null then
        -- Freed this very moment: the next attempt will have it.
        state := 'running'; retry_ms := 1000;
        return;
    end if;
    execution_id := r.execution_id;
    if r.request_digest <> p_request then
        state := 'conflict';
    elsif r.state = 'running' and r.deadline_at > now_ then
        state := 'running'; retry_ms := ceil(extract(epoch from r.deadline_at - now_) * 1000);
    elsif r.state = 'running' then
        state := 'unknown';
    else
        state := r.state; result := r.result;
    end if;
end $$;

-- Ends the run: p_state 'done', 'unknown', or null to free the key. Only the run that has the key can.
create function broker.idem_end{v}(p_tenant uuid, p_scope bytea, p_execution uuid, p_state text, p_result bytea) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    if p_state is null then
        delete from broker.idempotency x
         where x.tenant_id = p_tenant and x.scope = p_scope and x.execution_id = p_execution and x.state = 'running';
    else
        update broker.idempotency x set state = p_state, result = p_result
         where x.tenant_id = p_tenant and x.scope = p_scope and x.execution_id = p_execution and x.state = 'running';
    end if;
    return found;
end $$;

create function broker.idem_expire{v}(p_tenant uuid, p_limit int) returns int
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare n int;
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    delete from broker.idempotency x
     where x.tenant_id = p_tenant
       and x.scope = any (select y.scope from broker.idempotency y
                           where y.tenant_id = p_tenant and y.expires_at <= clock_timestamp() limit p_limit);
    get diagnostics n = row_count;
    return n;
end $$;
