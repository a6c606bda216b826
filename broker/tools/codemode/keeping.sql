-- What a program leaves behind. All of it belongs to one tenant and is sealed; only sizes, owners and times are readable.

-- The text of a program, once; and that its execution is open until code_done (p_facts null: nobody asked for that), which
-- lasts p_seconds at most: the sweeper (gate/executions.sql) writes the end of one whose process is gone.
create function broker.code_kept{v}(
    p_tenant uuid, p_execution uuid, p_at timestamptz, p_digest text, p_code bytea, p_boot uuid, p_seconds double precision,
    p_facts jsonb
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    insert into broker.programs (tenant_id, execution_id, at, digest, code)
    values (p_tenant, p_execution, p_at, p_digest, p_code)
    on conflict do nothing;
    if p_facts is not null then
        insert into broker.open_executions (tenant_id, execution_id, boot, begun_at, deadline_at, facts)
        values (p_tenant, p_execution, p_boot, clock_timestamp(), clock_timestamp() + p_seconds * interval '1 s', p_facts)
        on conflict do nothing;
    end if;
end $$;

-- An execution that was to begin did not: nothing of it is open.
create function broker.code_withdrawn{v}(p_tenant uuid, p_execution uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    delete from broker.open_executions o where o.tenant_id = p_tenant and o.execution_id = p_execution;
end $$;

-- The end of an execution: its event, its text unless that stands already (p_code null: there is none), and its result
-- (p_result null: none). An identity keeps at most p_most results of p_most_bytes together; the oldest go first, and an eighth
-- of p_most at once, so that not every execution has to look for them.
create function broker.code_done{v}(
    p_event audit.events, p_digest text, p_code bytea,
    p_result bytea, p_identity uuid, p_root uuid, p_connection uuid, p_account uuid, p_access text, p_seconds int,
    p_most int, p_most_bytes bigint, p_grants text[]
) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    tenant uuid := (p_event).tenant_id;
    now_ timestamptz := clock_timestamp();
    places bigint;
    together_ bigint;
begin
    perform set_config('keyreeve.tenant', tenant::text, true);
    p_event.xid := pg_current_xact_id();
    insert into audit.events select (p_event).*;
    delete from broker.open_executions o where o.tenant_id = tenant and o.execution_id = (p_event).execution_id;
    if p_code is not null then
        insert into broker.programs (tenant_id, execution_id, at, digest, code)
        values (tenant, (p_event).execution_id, (p_event).at, p_digest, p_code)
        on conflict do nothing;
    end if;
    if p_result is null then
        return;
    end if;
    insert into broker.code_results (
        tenant_id, execution_id, identity_id, root_id, connection_id, account_id, access, bytes, result, created_at, expires_at,
        grants)
    values (tenant, (p_event).execution_id, p_identity, p_root, p_connection, p_account, p_access, length(p_result), p_result,
        now_, now_ + p_seconds * interval '1 s', p_grants)
    on conflict do nothing;
    select count(*), sum(x.bytes) into places, together_ from broker.code_results x
     where x.tenant_id = tenant and x.identity_id = p_identity;
    if places <= p_most and together_ <= p_most_bytes then
        return;
    end if;
    delete from broker.code_results r
     using (select x.execution_id, row_number() over newest as place, sum(x.bytes) over newest as together
              from broker.code_results x
             where x.tenant_id = tenant and x.identity_id = p_identity
            window newest as (order by x.created_at desc, x.execution_id desc)) as old
     where r.tenant_id = tenant and r.execution_id = old.execution_id
       and (old.place > p_most - p_most / 8 or old.together > p_most_bytes) and old.place > 1;
end $$;

-- A kept result, for exactly whom it was made for. `stands`: every grant that may have allowed its requests is among
-- p_grants, those of its reader now (fingerprints: a narrowed one is another one), and none has ended since it ran.
create function broker.code_previous{v}(
    p_tenant uuid, p_execution uuid, p_identity uuid, p_root uuid, p_connection uuid, p_account uuid, p_grants text[],
    out access text, out result bytea, out stands boolean
) language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', p_tenant::text, true);
    select r.access, r.result, coalesce(r.grants <@ p_grants, false) and not exists (
               -- Two minutes: a run takes no longer, and its result is written down at its end.
               select from broker.grants g
                where g.tenant_id = p_tenant and g.connection_id = p_connection
                  and (g.identity_id is null or g.identity_id = p_identity)
                  and least(g.deleted_at, g.expires_at) between r.created_at - interval '2 minutes' and clock_timestamp())
      into access, result, stands from broker.code_results r
     where r.tenant_id = p_tenant and r.execution_id = p_execution and r.identity_id = p_identity and r.root_id = p_root
       and r.connection_id = p_connection and r.account_id is not distinct from p_account and r.expires_at > clock_timestamp();
end $$;

-- Adds what an earlier release did not keep of a description. The app may not change descriptions: this fills a gap, once.
create function broker.spec_document{v}(p_digest text, p_document bytea) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update broker.spec_blobs b set document = p_document where b.digest = p_digest and b.document is null;
    return found;
end $$;
