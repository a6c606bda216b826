-- Budgets: a ring of one-second buckets per upstream principal and meter; see README.md for why it is exact.
-- These functions own broker.budgets and broker.budget_shares, which keyreeve_app cannot touch: SECURITY DEFINER.

-- Notes a forward step of the database's clock: it is ahead of what a node's monotonic clock says it should read.
-- Four nodes that notice the same step within 3 s note it once: they still expect the time before it. Whoever has heard the
-- clock since (it expects about the time of the step, or later) notices another step, however soon it follows.
create function broker.note_clock{v}(p_expected timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_expected is not null and clock_timestamp() > p_expected + interval '3 seconds' then
        update broker.db_clock
           set jumps = jumps + 1, jumped_at = clock_timestamp(), jumped_from = p_expected
         where clock_timestamp() - jumped_at > interval '3 seconds' or jumped_at > clock_timestamp()
            or p_expected >= jumped_at - interval '1.5 seconds';
    end if;
end $$;

-- The row brought to p_now: seconds that left the window are freed. Afterwards base + window is the current second, and
-- the ring covers exactly [base, base + window + 120]. Time never runs backwards for a row, and after a step of the clock
-- (either way) whatever may still count upstream is stamped anew: it lives longer than it must, never shorter.
create function broker.budget_roll{v}(r broker.budgets, p_window int, p_now timestamptz) returns broker.budgets
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    c broker.db_clock;
    k bigint := floor(extract(epoch from p_now));
    until_ bigint := k;
    length_ int := r.window_seconds + 121;
    restamp boolean := false;
    then_ timestamptz;
    i int;
    freed int := 0;
    foreign_freed int := 0;
    ring smallint[];
    others smallint[];
begin
    select * into c from broker.db_clock;
    if r.jumps <> c.jumps then
        -- What the old clock would read now; with two steps missed nobody knows, and it stands still since the last use.
        then_ := case when r.jumps = c.jumps - 1 then c.jumped_from + (p_now - c.jumped_at)
                      else to_timestamp(r.base + r.window_seconds) end;
        until_ := floor(extract(epoch from then_));
        if r.blocked_until > then_ then
            r.blocked_until := p_now + (r.blocked_until - then_);
        end if;
        r.jumps := c.jumps;
        restamp := true;
    elsif k < r.base + r.window_seconds then
        -- A step back. A small one is waited out, a larger one stamped anew.
        restamp := k < r.base + r.window_seconds - 2;
        until_ := r.base + r.window_seconds;
    end if;
    restamp := restamp or r.window_seconds <> p_window;
    if r.blocked_until > p_now + interval '600 s' then
        r.blocked_until := p_now + interval '600 s';
    end if;
    if r.used + r.foreign_used > 0 and r.base < until_ - r.window_seconds then
        ring := r.ring;
        others := r.foreign_ring;
        for s in r.base .. least(until_ - r.window_seconds - 1, r.base + length_ - 1) loop
            i := s % length_ + 1;
            if ring[i] <> 0 then
                freed := freed + ring[i];
                ring[i] := 0;
            end if;
            if others is not null and others[i] <> 0 then
                foreign_freed := foreign_freed + others[i];
                others[i] := 0;
            end if;
        end loop;
        r.used := r.used - freed;
        r.foreign_used := r.foreign_used - foreign_freed;
        r.ring := ring;
        r.foreign_ring := case when r.foreign_used > 0 then others end;
    end if;
    r.base := greatest(r.base, until_ - r.window_seconds);
    if restamp then
        length_ := p_window + 121;
        ring := array_fill(0::smallint, array[length_]);
        ring[k % length_ + 1] := r.used;
        r.ring := ring;
        if r.foreign_used > 0 then
            ring[k % length_ + 1] := r.foreign_used;
            r.foreign_ring := ring;
        else
            r.foreign_ring := null;
        end if;
        r.window_seconds := p_window;
        r.base := k - p_window;
        r.era := r.era + 1;
    end if;
    return r;
end $$;

-- The row of a principal's meter, made if it is new, locked till the end of the transaction.
create function broker.budget_row{v}(p_key bytea, p_meter text, p_cap int, p_window int) returns broker.budgets
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare r broker.budgets;
begin
    select * into r from broker.budgets b where b.principal_key = p_key and b.meter = p_meter for update;
    if not found then
        insert into broker.budgets (principal_key, meter, cap, window_seconds, base, ring, jumps)
        select p_key, p_meter, p_cap, p_window, floor(extract(epoch from clock_timestamp()))::bigint - p_window,
               array_fill(0::smallint, array[p_window + 121]), c.jumps from broker.db_clock c
        on conflict do nothing;
        select * into r from broker.budgets b where b.principal_key = p_key and b.meter = p_meter for update;
    end if;
    return r;
end $$;

-- Milliseconds until p_need more slots are free than now: when the oldest that many have left the window.
create function broker.budget_frees{v}(r broker.budgets, p_need int, p_now timestamptz) returns bigint
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    length_ int := r.window_seconds + 121;
    freed int := 0;
    last_ bigint := r.base;
    i int;
begin
    if p_need <= 0 then
        return 0;
    end if;
    for s in r.base .. r.base + length_ - 1 loop
        i := s % length_ + 1;
        freed := freed + r.ring[i] + coalesce(r.foreign_ring[i], 0);
        last_ := s;
        exit when freed >= p_need;
    end loop;
    return greatest(1, (last_ + r.window_seconds + 1) * 1000 - floor(extract(epoch from p_now) * 1000)::bigint);
end $$;

-- How many slots stay untouched for the other identities of a principal: what they have not had of their even shares, but
-- at most a quarter of the limit. None while the asker itself is within its share.
create function broker.budget_held{v}(r broker.budgets, p_limit int, p_cost int, p_tenant uuid, p_sharer uuid) returns int
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    width int := greatest(r.window_seconds / 10, 1);
    b bigint := (r.base + r.window_seconds) / width;
    m int;
    mine bigint;
    unused bigint;
begin
    with each as (
        select s.tenant_id = p_tenant and s.sharer = p_sharer as me,
               coalesce(sum(s.used) filter (where s.bucket > b - 11), 0) as used
          from broker.budget_shares s
         where s.principal_key = r.principal_key and s.meter = r.meter and s.bucket > b - 21
         group by s.tenant_id, s.sharer
    ), counted as (select count(*) filter (where not me) + 1 as m from each)
    select c.m, coalesce(sum(e.used) filter (where e.me), 0),
           coalesce(sum(greatest(p_limit / c.m - e.used, 0)) filter (where not e.me), 0)
      into m, mine, unused
      from counted c left join each e on true group by c.m;
    if mine + p_cost <= p_limit / m then
        return 0;
    end if;
    return least(p_limit / 4, unused);
end $$;

-- Writes a row that was rolled and booked upon.
create function broker.budget_save{v}(r broker.budgets) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update broker.budgets b
       set cap = r.cap, window_seconds = r.window_seconds, base = r.base, used = r.used, ring = r.ring,
           foreign_used = r.foreign_used, foreign_ring = r.foreign_ring, blocked_until = r.blocked_until,
           era = r.era, jumps = r.jumps, shared = r.shared, sole_tenant = r.sole_tenant, sole_sharer = r.sole_sharer
     where b.principal_key = r.principal_key and b.meter = r.meter;
end $$;

-- Whose use it is. While one identity alone spends a principal the row says so; from the second on it is counted apart.
create function broker.budget_sharers{v}(r broker.budgets, p_tenant uuid, p_sharer uuid) returns broker.budgets
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if r.used = 0 then
        if r.shared then
            delete from broker.budget_shares s where s.principal_key = r.principal_key and s.meter = r.meter;
        end if;
        r.shared := false;
        r.sole_tenant := p_tenant;
        r.sole_sharer := p_sharer;
    elsif not r.shared and (r.sole_sharer is distinct from p_sharer or r.sole_tenant is distinct from p_tenant) then
        if r.sole_sharer is not null then
            insert into broker.budget_shares (principal_key, meter, tenant_id, sharer, bucket, used)
            values (r.principal_key, r.meter, r.sole_tenant, r.sole_sharer,
                    (r.base + r.window_seconds) / greatest(r.window_seconds / 10, 1), r.used);
        end if;
        r.shared := true;
    end if;
    return r;
end $$;

create function broker.budget_share{v}(r broker.budgets, p_cost int, p_tenant uuid, p_sharer uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    b bigint := (r.base + r.window_seconds) / greatest(r.window_seconds / 10, 1);
    fresh boolean;
begin
    insert into broker.budget_shares as s (principal_key, meter, tenant_id, sharer, bucket, used)
    values (r.principal_key, r.meter, p_tenant, p_sharer, b, p_cost)
    on conflict on constraint budget_shares_pkey do update set used = s.used + excluded.used
    returning xmax = 0 into fresh;
    if fresh then
        delete from broker.budget_shares s
         where s.principal_key = r.principal_key and s.meter = r.meter and s.bucket <= b - 21;
    end if;
end $$;

-- Books p_cost slots of one meter, p_hold seconds ahead: the call's deadline, after which nothing of it can reach the
-- upstream. Refuses (ok false) where fewer are free, the principal is blocked, or the rest is held for others.
create function broker.budget_reserve{v}(
    p_key bytea, p_meter text, p_cap int, p_window int, p_cost int, p_reserve int, p_hold int, p_tenant uuid, p_sharer uuid,
    out ok boolean, out slot_second bigint, out slot_era int, out seen int, out remaining int,
    out retry_ms bigint, out reset_ms bigint
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    r broker.budgets;
    now_ timestamptz;
    limit_ int := p_cap - least(greatest(p_reserve, 0), p_cap - 1);
    left_ int;
    held int := 0;
    era_ int;
    i int;
    ring smallint[];
    in_time boolean;
begin
    -- The usual case in one statement: the row was used in this very second, by the same sharer alone, and more than enough
    -- is left. A step of the clock that counts shows as another second, and is dealt with below.
    update broker.budgets b
       set cap = p_cap, used = b.used + p_cost,
           ring[(b.base + p_window + least(greatest(p_hold, 1), 120)) % (p_window + 121) + 1] =
               b.ring[(b.base + p_window + least(greatest(p_hold, 1), 120)) % (p_window + 121) + 1] + p_cost
     where b.principal_key = p_key and b.meter = p_meter and b.window_seconds = p_window
       and b.base + p_window = floor(extract(epoch from clock_timestamp()))
       and b.jumps = (select c.jumps from broker.db_clock c)
       and coalesce(b.blocked_until <= clock_timestamp(), true) and b.used > 0
       and not b.shared and b.sole_sharer = p_sharer and b.sole_tenant = p_tenant
       and limit_ - b.used - b.foreign_used > p_cost
    returning true, b.base + p_window + least(greatest(p_hold, 1), 120), b.era, b.used, limit_ - b.used - b.foreign_used, 0, 0,
              b.base + p_window = floor(extract(epoch from clock_timestamp()))
         into ok, slot_second, slot_era, seen, remaining, retry_ms, reset_ms, in_time;
    if in_time then
        return;
    elsif found then
        -- The second went by in a wait for the row: booked anew.
        perform broker.budget_settle{v}(p_key, p_meter, p_cost, slot_second, slot_era, 0, 'not_sent', 0, null, null, null);
    end if;
    r := broker.budget_row{v}(p_key, p_meter, p_cap, p_window);
    now_ := clock_timestamp();
    era_ := r.era;
    r := broker.budget_roll{v}(r, p_window, now_);
    r.cap := p_cap;
    if r.used = 0 or (not r.shared and (r.sole_sharer is distinct from p_sharer or r.sole_tenant is distinct from p_tenant)) then
        r := broker.budget_sharers{v}(r, p_tenant, p_sharer);
        era_ := 0;
    end if;
    left_ := limit_ - r.used - r.foreign_used;
    if r.shared and left_ - p_cost < limit_ / 4 then
        held := broker.budget_held{v}(r, limit_, p_cost, p_tenant, p_sharer);
    end if;
    ok := not coalesce(r.blocked_until > now_, false) and left_ - held >= p_cost;
    if not ok then
        remaining := greatest(left_, 0);
        retry_ms := greatest(
            case when r.blocked_until > now_ then ceil(extract(epoch from r.blocked_until - now_) * 1000)::bigint else 0 end,
            broker.budget_frees{v}(r, p_cost + held - left_, now_));
        reset_ms := case when left_ > 0 then 0 else retry_ms end;
        if r.era <> era_ then
            perform broker.budget_save{v}(r);
        end if;
        return;
    end if;
    slot_second := r.base + p_window + least(greatest(p_hold, 1), 120);
    slot_era := r.era;
    i := slot_second % (p_window + 121) + 1;
    ring := r.ring;
    ring[i] := ring[i] + p_cost;
    r.ring := ring;
    r.used := r.used + p_cost;
    perform broker.budget_save{v}(r);
    if r.shared then
        perform broker.budget_share{v}(r, p_cost, p_tenant, p_sharer);
    end if;
    seen := r.used;
    remaining := left_ - p_cost;
    retry_ms := 0;
    reset_ms := case when remaining > 0 then 0 else broker.budget_frees{v}(r, 1, now_) end;
end $$;

-- Ends a booking. p_how: 'sent' moves it to this second, 'not_sent' frees it, 'late' books anew (the booking was already
-- ended by the sweeper). A booking from before a step of the clock can no longer be told apart: it stays, and 'sent' adds.
-- p_block: seconds the upstream told us to stay away. p_limit, p_left: what the answer's headers say; only ever lowers what
-- is left. p_seen: our own use when the call was admitted, so that an old answer doesn't count expired slots as foreign.
create function broker.budget_settle{v}(
    p_key bytea, p_meter text, p_cost int, p_second bigint, p_era int, p_seen int, p_how text,
    p_block int, p_limit int, p_left int, p_window int, out remaining int, out reset_ms bigint
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    r broker.budgets;
    now_ timestamptz;
    k bigint;
    i int;
    foreign_ int;
    length_ int;
    ring smallint[];
    in_time boolean;
begin
    if p_how = 'sent' and coalesce(p_block, 0) <= 0 then
        -- The usual case in one statement: the row was used in this very second, and no header tells of more use.
        update broker.budgets b
           set ring[p_second % (b.window_seconds + 121) + 1] = b.ring[p_second % (b.window_seconds + 121) + 1] - p_cost,
               ring[(b.base + b.window_seconds) % (b.window_seconds + 121) + 1] =
                   b.ring[(b.base + b.window_seconds) % (b.window_seconds + 121) + 1] + p_cost
         where b.principal_key = p_key and b.meter = p_meter
           and b.base + b.window_seconds = floor(extract(epoch from clock_timestamp()))
           and p_second > b.base + b.window_seconds and b.era = p_era
           and b.jumps = (select c.jumps from broker.db_clock c)
           and coalesce(b.blocked_until <= clock_timestamp(), true) and b.cap > b.used + b.foreign_used
           and (p_limit is null or p_left is null or coalesce(p_window, b.window_seconds) <> b.window_seconds
                or least(p_limit - p_left - greatest(b.used, p_seen), b.cap) <= b.foreign_used)
        returning b.cap - b.used - b.foreign_used, 0, b.base + b.window_seconds,
                  b.base + b.window_seconds = floor(extract(epoch from clock_timestamp()))
             into remaining, reset_ms, k, in_time;
        if in_time then
            return;
        elsif found then
            p_second := k;  -- the second went by in a wait for the row: moved once more
        end if;
    end if;
    select * into r from broker.budgets b where b.principal_key = p_key and b.meter = p_meter for update;
    if not found then
        return;
    end if;
    now_ := clock_timestamp();
    r := broker.budget_roll{v}(r, r.window_seconds, now_);
    k := r.base + r.window_seconds;
    length_ := r.window_seconds + 121;
    ring := r.ring;
    if p_how <> 'late' and p_era = r.era and p_second >= r.base then
        i := p_second % length_ + 1;
        ring[i] := ring[i] - p_cost;
        r.used := r.used - p_cost;
    end if;
    if p_how <> 'not_sent' then
        i := k % length_ + 1;
        ring[i] := ring[i] + p_cost;
        r.used := r.used + p_cost;
    end if;
    r.ring := ring;
    if p_block > 0 then
        r.blocked_until := greatest(r.blocked_until, now_ + least(p_block, 600) * interval '1 s');
    end if;
    if p_limit is not null and p_left is not null and coalesce(p_window, r.window_seconds) = r.window_seconds then
        foreign_ := least(p_limit - p_left - greatest(r.used, p_seen), r.cap) - r.foreign_used;
        if foreign_ > 0 then
            i := k % length_ + 1;
            ring := coalesce(r.foreign_ring, array_fill(0::smallint, array[length_]));
            ring[i] := ring[i] + foreign_;
            r.foreign_ring := ring;
            r.foreign_used := r.foreign_used + foreign_;
        end if;
    end if;
    perform broker.budget_save{v}(r);
    remaining := greatest(r.cap - r.used - r.foreign_used, 0);
    reset_ms := case when remaining > 0 then 0 else broker.budget_frees{v}(r, 1, now_) end;
end $$;

-- Books requests that were made before their principal was known, at this second, as the use of whose account it is.
create function broker.budget_book{v}(
    p_key bytea, p_meter text, p_cap int, p_window int, p_cost int, p_tenant uuid, p_sharer uuid
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare r broker.budgets;
begin
    r := broker.budget_row{v}(p_key, p_meter, p_cap, p_window);
    r := broker.budget_roll{v}(r, p_window, clock_timestamp());
    r := broker.budget_sharers{v}(r, p_tenant, p_sharer);
    perform broker.budget_save{v}(r);
    if r.shared then
        perform broker.budget_share{v}(r, p_cost, p_tenant, p_sharer);
    end if;
    perform broker.budget_settle{v}(p_key, p_meter, p_cost, 0, 0, 0, 'late', 0, null, null, null);
end $$;
