-- The audit part of revision 0001: the events, their daily partitions, and who may do what with them.
-- Append-only: keyreeve_app may insert and select. An intent and its outcome share `at` and `call_id`,
-- so they lie in the same day's partition and are dropped together.
create table audit.events (
    tenant_id uuid not null,
    at timestamptz not null,
    id uuid not null,
    kind text not null check (kind in ('intent', 'outcome', 'refusal', 'change', 'execution')),
    call_id uuid,
    execution_id uuid,
    n int,
    actor text not null,
    on_behalf_of text,
    identifier text,
    bearer_id uuid,
    connection_name text,
    account_id uuid,
    tool_name text,
    operation text,
    outcome text,
    run_id text,
    body jsonb not null,
    recorded_at timestamptz not null,
    node text not null,
    boot uuid not null,
    counter bigint not null,
    mac_key int not null,
    mac bytea not null,
    xid xid8 not null default pg_current_xact_id(),
    primary key (tenant_id, at, id)
) partition by range (at);
create index events_by_execution on audit.events (tenant_id, execution_id) where execution_id is not null;
grant select, insert on audit.events to keyreeve_app;

create function audit.ensure_partitions(p_from date, p_to date) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare d date := p_from; made int := 0; part text;
begin
    if p_to - p_from > 400 then raise exception 'too many partitions asked for'; end if;
    while d <= p_to loop
        part := 'events_' || to_char(d, 'YYYYMMDD');
        if to_regclass('audit.' || part) is null then
            perform pg_advisory_xact_lock(hashtextextended('keyreeve.audit.partitions', 0));
            if to_regclass('audit.' || part) is null then
                -- Made apart and attached: attaching lets calls go on writing, `partition of` would lock them all out.
                execute format('create table audit.%I (like audit.events including defaults including constraints)', part);
                execute format('alter table audit.%I enable row level security', part);
                execute format('alter table audit.%I force row level security', part);
                execute format('alter table audit.events attach partition audit.%I for values from (%L) to (%L)',
                               part, d::text || ' 00:00:00+00', (d + 1)::text || ' 00:00:00+00');
                made := made + 1;
            end if;
        end if;
        d := d + 1;
    end loop;
    return made;
end $$;

create function audit.drop_partitions(p_before date) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare r record; gone text[] := '{}';
begin
    -- Retention is at least a day: nothing in use can be dropped by a mistaken argument.
    if p_before > (now() at time zone 'UTC')::date - 1 then raise exception 'retention must be at least one day'; end if;
    -- Dropping locks the whole table. Rather fail and try again than make calls wait behind a long reader.
    perform set_config('lock_timeout', '1s', true);
    for r in select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
              where i.inhparent = 'audit.events'::regclass and c.relname ~ '^events_[0-9]{8}$'
                and to_date(substr(c.relname, 8), 'YYYYMMDD') < p_before
              order by 1 loop
        execute format('drop table audit.%I', r.relname);
        gone := gone || r.relname::text;
    end loop;
    return gone;
end $$;
revoke all on function audit.ensure_partitions(date, date), audit.drop_partitions(date) from public;
grant execute on function audit.ensure_partitions(date, date), audit.drop_partitions(date) to keyreeve_app;
select audit.ensure_partitions((now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date + 7);
